"""check_serve_browser.py PROGRAM [--screenshots FOLDER]: the page of `trident serve` in a real Chromium."""

import argparse
import base64
import json
import pathlib
import shutil
import tempfile
import time

from check_serve import MODEL, PHOTO, SCENES, WORDS, Server, check
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

FEW = ["horse", "grass; lawn", "sky", "tree", "house"]
NAMED = {"button", "textbox", "checkbox", "slider", "image", "link", "heading"}


class Page:
    """The page in a browser, with what a visitor does."""

    def __init__(self, folder):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--lang=en",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            "--window-size=1440,1200",
        ]:
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        self.folder = folder

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).text

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def wait(self, fact, text, seconds=60):
        try:
            return WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(lambda _: fact())
        except Exception:
            check(False, f"{text}; status '{self.text('status')}', error '{self.text('error')}'")

    def choose(self, path):
        self.find("file").send_keys(str(path.resolve()))
        self.wait(lambda: self.text("name") == path.name, f"{path.name} is not chosen")

    def words(self, words):
        self.find("words").clear()
        self.find("words").send_keys("\n".join(words))

    def go(self):
        self.find("go").click()

    def done(self):
        self.wait(lambda: self.text("status").startswith("Done"), "no result comes")
        self.wait(lambda: self.find("result").is_displayed(), "no result is shown")

    def size(self, width, height, scheme="light", mobile=False):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def shoot(self, path, limit):
        """The page, as it is laid out, down to `limit` pixels."""
        height = min(limit, self.run("return document.documentElement.scrollHeight"))
        width = self.run("return innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        found = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(found["data"]))

    def problems(self):
        """What the console complains of."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def errors(page):
    page.go()
    check(page.text("error") == "Choose a photo first.", "no photo is no error")
    page.choose(PHOTO)
    page.go()
    check("at least one word" in page.text("error"), "no word is no error")
    page.words(["horse", "horse"])
    page.go()
    page.wait(lambda: "horse" in page.text("error"), "the server's reason is not shown")
    check(not page.find("result").is_displayed(), "an error shows a result")
    page.problems()


def result(page):
    page.words(FEW)
    page.go()
    page.done()
    legend = page.text("legend")
    check(all(word.split(";")[0] in legend for word in FEW) and "% sure" in legend, f"legend: {legend}")
    view = page.find("view")
    page.run("arguments[0].scrollIntoView({block: 'center'})", view)
    ActionChains(page.driver).move_to_element(view).perform()
    check("% sure" in page.text("reading"), "pointing at the picture reads nothing")
    view.send_keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    check(page.find("reading").get_attribute("aria-live") == "polite", "keys are not read out")
    # What is read is what the server says of that place.
    wanted = page.run(
        "const at = shown.probe[1] * shown.width + shown.probe[0];"
        "return shown.answer.classes[shown.labels[at]].name"
    )
    check(page.text("reading").startswith(wanted), "the reading is of another place")
    shares = page.run(
        "const counts = shown.answer.classes.map(() => 0); for (const label of shown.labels) counts[label]++;"
        "return shown.answer.classes.map((one, label) => [one.share, counts[label] / shown.labels.length])"
    )
    check(all(abs(one - other) < 0.002 for one, other in shares), f"colours are read wrongly: {shares}")
    before = page.run("return $('view').toDataURL()")
    page.find("opacity").send_keys(Keys.HOME)
    check(page.text("opacity-text") == "0 %", "the slider says nothing")
    check(page.run("return $('view').toDataURL()") != before, "the slider changes nothing")
    page.find("opacity").send_keys(Keys.END)
    page.run("document.querySelector('#legend input:enabled').click()")
    check(page.run("return shown.hidden.size") == 1, "a class cannot be hidden")
    page.run("document.querySelector('#legend input:enabled').click()")


def downloads(page):
    links = page.find("downloads").find_elements(By.TAG_NAME, "a")
    check(len(links) == 5, "five downloads are offered")
    for link in links:
        name = link.get_attribute("download")
        link.click()
        path = page.folder / name
        page.wait(lambda path=path: path.exists() and path.stat().st_size > 0, f"{name} is not saved", 20)
    png = b"\x89PNG\r\n"
    check((page.folder / "farm.png").read_bytes().startswith(png), "the map is no PNG")
    check((page.folder / "farm.confidence.png").read_bytes().startswith(png), "the confidence is no PNG")
    check(len((page.folder / "farm.csv").read_text().splitlines()) == len(FEW) + 1, "the table lacks lines")
    check(json.loads((page.folder / "farm.coco.json").read_text())["annotations"], "no annotations")
    legend = json.loads((page.folder / "farm.json").read_text())
    check(legend["classes"][0]["name"] == "horse" and "files" not in legend, "no legend")


def drop(page, path):
    """A photo is dragged into the window, as the browser tells the page of it."""
    page.run(
        """
      const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], arguments[1], { type: "image/jpeg" }));
      for (const kind of ["dragenter", "dragover", "drop"]) {
        $("drop").dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
      }""",
        base64.b64encode(path.read_bytes()).decode(),
        path.name,
    )
    page.wait(lambda: page.text("name") == path.name, "a dropped photo is not taken")


def camera(page):
    page.find("camera").click()
    page.wait(lambda: page.run("return $('video').videoWidth") > 0, "the camera shows nothing")
    page.find("shoot").click()
    page.wait(lambda: page.text("name") == "camera.jpg", "the camera's photo is not taken")
    check(not page.find("live").is_displayed(), "the camera stays on")
    page.words(["green screen", "clock"])
    page.go()
    page.wait(lambda: "camera.jpg" in page.text("facts"), "the camera's photo has no result")


def history(page):
    entries = page.find("history").find_elements(By.TAG_NAME, "button")
    check(len(entries) == 3, f"{len(entries)} results are remembered, not 3")
    entries[2].click()
    check(page.text("facts").startswith(PHOTO.name), "an earlier result does not come back")


def layout(page):
    for width in [320, 480, 768, 1024, 1440, 2560, 3840]:
        for scheme in ["light", "dark"]:
            page.size(width, 900, scheme)
            wide = page.run("return document.documentElement.scrollWidth")
            check(wide <= width, f"{width} px wide, the page needs {wide}")
    page.size(1440, 1200)
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    for node in tree:
        role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value")
        check(role not in NAMED or node.get("ignored") or name, f"a {role} has no name for a screen reader")
    # Everything that a mouse reaches, keys reach.
    page.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(60):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.add(page.run("return document.activeElement.id || document.activeElement.textContent.trim()"))
    for name in ["file", "camera", "words", "background", "go", "view", "opacity", "Labels (PNG)"]:
        check(name in reached, f"the Tab key does not reach {name}")


def alone(page):
    """Nothing comes from elsewhere."""
    names = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    own = page.run("return location.origin")
    others = [name for name in names if not name.startswith((own + "/", "blob:" + own, "data:"))]
    check(not others, f"the page asks others: {others}")


def pictures(page, folder):
    """The page on a desktop and on a phone, with few colours."""
    from PIL import Image

    page.size(1100, 900)
    page.choose(PHOTO)
    page.words([*FEW, "sheep", "duck"])
    page.go()
    page.wait(lambda: "duck" in page.text("legend"), "no result for the pictures")
    page.find("opacity").send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 55)
    for name, width, scheme in [("serve-desktop", 1100, "light"), ("serve-phone", 320, "dark")]:
        page.size(width, 700, scheme, mobile=width < 400)
        page.run("document.activeElement.blur(); scrollTo(0, 0)")
        time.sleep(1)
        path = folder / f"{name}.png"
        page.shoot(path, 1160 if width > 400 else 3000)
        with Image.open(path) as image:
            small = image.convert("RGB").resize((image.width * 4 // 5, image.height * 4 // 5) if width > 400
                                                else image.size)
        small.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def token(page, program):
    path = page.folder / "token"
    path.write_text("0123456789abcdef\n")
    with Server(program, "--token-file", str(path)) as server:
        page.driver.get(f"http://127.0.0.1:{server.port}/")
        page.wait(lambda: page.find("token").is_displayed(), "no token is asked for")
        page.find("token").send_keys("0123456789abcdef", Keys.TAB)
        page.wait(lambda: MODEL.rsplit("/", 1)[1] in page.text("model"), "the token is not taken")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--screenshots", type=pathlib.Path)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Server(options.program) as server:
        page = Page(pathlib.Path(folder))
        try:
            page.driver.get(f"http://127.0.0.1:{server.port}/")
            page.wait(
                lambda: MODEL.rsplit("/", 1)[1] in page.text("model"), "the page does not name the model"
            )
            errors(page)
            result(page)
            downloads(page)
            drop(page, SCENES / "images/street.jpg")
            page.words(WORDS[:12])
            page.find("more").click()
            page.find("templates").send_keys("7 sentences")
            page.go()
            page.wait(lambda: "street.jpg" in page.text("facts"), "the dropped photo has no result")
            check(page.run("return shown.answer.templates") == "seven", "the sentences are not asked for")
            page.find("templates").send_keys("As this")
            camera(page)
            history(page)
            layout(page)
            alone(page)
            check(not page.problems(), f"the console complains: {page.problems()}")
            if options.screenshots:
                pictures(page, options.screenshots)
            token(page, options.program)
        finally:
            version = page.driver.capabilities["browserVersion"]
            page.driver.quit()
    print(
        f"serve: the page in Chromium {version}: choose, drop, camera, words, errors, hover and keys, "
        f"downloads, history, 320 to 3840 px, token ({time.monotonic() - start:.0f} s)"
    )


main()
