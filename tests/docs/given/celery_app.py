"""A Celery application's own app, on the broker of the test."""

import os

from celery import Celery

celery_app = Celery("shop", broker=os.environ["KLAVIYO_RELAY_REDIS_URL"])
