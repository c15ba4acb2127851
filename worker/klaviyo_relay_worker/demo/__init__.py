"""The demonstration: a real shop's purchase history through the whole house, on one machine."""

from klaviyo_relay_worker.demo.show import run_demo, run_live_demo

__all__ = ["run_demo", "run_live_demo"]
