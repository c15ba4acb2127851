"""The worker: takes commands from the lanes and delivers them to Klaviyo."""
