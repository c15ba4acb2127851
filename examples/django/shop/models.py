"""The one table."""

from django.db import models


class Order(models.Model):
    """An order; its number is the customer's, and may be used once."""

    number = models.CharField(max_length=40, unique=True)
    email = models.EmailField()

    def __str__(self) -> str:
        return self.number
