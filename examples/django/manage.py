"""Django's command line for the example: `python manage.py migrate`, `… klaviyo_relay status`."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
execute_from_command_line(sys.argv)
