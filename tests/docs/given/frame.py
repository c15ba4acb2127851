"""A frame of orders."""

import pandas as pd

__all__ = ["frame"]

frame = pd.DataFrame(
    {
        "email": ["ada@lovelace.dev", "grace@lovelace.dev"],
        "total": [23.99, 5.0],
        "order_id": ["A-1", "A-2"],
        "color": ["red", "blue"],
    }
)
