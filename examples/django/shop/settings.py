"""A shop with one kind of row. SHOP_DATA is a folder for the database and the spool.

python manage.py migrate
gunicorn --workers 2 --preload shop.wsgi
"""

import os
from pathlib import Path

DATA = Path(os.environ.get("SHOP_DATA", Path(__file__).parent.parent / "data"))
DATA.mkdir(parents=True, exist_ok=True)

SECRET_KEY = "only an example"  # noqa: S105 - it guards nothing
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Each request is a transaction: what fails sends nothing.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "shop.sqlite3",
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"timeout": 30},
    }
}
INSTALLED_APPS = ["klaviyo_relay.contrib.django", "shop"]
KLAVIYO_RELAY = {
    "REDIS_URL": os.environ.get("SHOP_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "SPOOL_DIR": DATA / "spool",
}
