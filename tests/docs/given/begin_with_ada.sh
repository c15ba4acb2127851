python ada_at_klaviyo.py
