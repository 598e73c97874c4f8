#!/usr/bin/env python3
"""A page as a phone shows it: phone.py PAGE.html OUT.jpg [HEIGHT].

Needs Chromium, its driver and Selenium; Scripts/check-serve.sh installs them, Selenium for its own Python.
"""
import base64
import pathlib
import shutil
import sys

from selenium import webdriver

WIDTH = 390


def main(page, out, height="1400"):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": WIDTH, "height": 844, "deviceScaleFactor": 1, "mobile": True})
        driver.get(pathlib.Path(page).resolve().as_uri())
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        if wide > WIDTH:
            sys.exit(f"{page} is {wide} pixels wide on a phone of {WIDTH}")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": int(height), "scale": 1}
        shot = driver.execute_cdp_cmd(
            "Page.captureScreenshot",
            {"format": "jpeg", "quality": 85, "clip": clip, "captureBeyondViewport": True})
        pathlib.Path(out).write_bytes(base64.b64decode(shot["data"]))
    finally:
        driver.quit()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
