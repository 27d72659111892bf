"""docs/how-to/ for school IT, done as it stands: the machine is a directory, the server and nginx are real."""

import configparser
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import typer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from huleedu.cli import app
from huleedu.platform.settings import Settings
from scripts.servers import free_ports
from tests.acceptance import served
from tests.acceptance.conftest import constraints
from tests.acceptance.served import HULEEDU, STOP_SECONDS, Served, rows

ROOT = Path(__file__).parents[2]
NGINX = Path("/usr/sbin/nginx")
UV = Path(sys.executable).with_name("uv")
BLOCK = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?P<who>[#$]) (?P<words>.+)\n(?P<printed>(?:(?![#$] ).*\n)*)", re.MULTILINE)
pytestmark = pytest.mark.timeout(240)  # an installation, and many commands that are processes of their own
OF_DEBIAN = {"apt-get", "adduser", "runuser"}
"""What only root of a Debian machine can do; the tests do without the account that it makes."""
PRESENT = "My sumer was very good. I was in the sea with my frend and we swam every day until it was cold."


class Machine:
    """A school's server. What the pages name is found below one directory, at ports that are free."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self.data = root / "var/lib/huleedu"
        self.certificate = root / "etc/ssl/huleedu/fullchain.pem"
        self.port, self.plain_port, self.upstream = free_ports(3)
        self.server: Served
        self.done: list[str] = []
        self._stack = stack
        for folder in ("etc/ssl/huleedu", "etc/nginx/conf.d", "var/lib", "var/backups", "home", "opt"):
            (root / folder).mkdir(parents=True)
        self.write("/etc/huleedu.env", blocks("https.md")["/etc/huleedu.env"])

    @property
    def url(self) -> str:
        """Where teachers find it."""
        return f"https://localhost:{self.port}"

    def here(self, text: str) -> str:
        """Return what a page says, for this machine: places, ports and names are others, and it has one class."""
        for known, own in {
            r"https://huleedu\.school\.se": self.url,
            r"huleedu\.school\.se": "localhost",
            r"listen 443\b": f"listen 127.0.0.1:{self.port}",
            r"listen 80\b": f"listen 127.0.0.1:{self.plain_port}",
            r"127\.0\.0\.1:4001": f"127.0.0.1:{self.upstream}",
            r"192\.0\.2\.10": "127.0.0.1",
            r"192\.0\.2\.20": "127.0.0.2",
            r"(?<![\w./])/(etc|var|opt)/": rf"{self.root}/\1/",
            r" -o huleedu -g huleedu": "",
            r"… batches": "1 batch",
        }.items():
            text = re.sub(known, own, text)
        return text

    def write(self, file: str, text: str) -> None:
        """Write a file that a page shows whole."""
        path = self.root / file.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text))

    def follow(self, page: str, *headings: str) -> None:
        """Do what the page says, below these headings only if there are any."""
        text = (ROOT / "docs/how-to" / page).read_text()
        parts = {part.partition("\n")[0]: part for part in text.split("\n## ")}
        for block in BLOCK.finditer("\n".join(parts[heading] for heading in headings or parts)):
            if block["file"]:
                self.write(block["file"], block["text"])
                continue
            assert block["kind"] == "console"
            commands = list(COMMAND.finditer(block["text"]))
            assert "".join(command[0] for command in commands) == block["text"]
            for command in commands:
                self.done.append(command["words"])
                self.obey(command["words"], command["printed"])

    def obey(self, command: str, printed: str) -> None:
        """Run one command; it goes well and prints what the page says, where … stands for anything."""
        words = command.split()
        if words[0] in OF_DEBIAN:
            return
        if words[0] == "systemctl":
            self._control(words[1], words[-1])
            return
        found = self.shell(command, well="WRONG" not in printed)
        wanted = re.escape(self.here(printed).strip()).replace("…", r"[\s\S]*")
        assert not printed or re.fullmatch(wanted, found.strip()), (command, found)

    def shell(self, command: str, *, well: bool = True) -> str:
        """Run a command in the shell that the pages open."""
        own = re.sub(r"^nginx\b", shlex.join(self._nginx), self.here(command))
        done = subprocess.run(
            ["bash", "-c", own],
            cwd=self.root / "home",
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | self.settings() | self._surroundings(),
        )
        assert (done.returncode == 0) is well, (own, done.returncode, done.stdout, done.stderr)
        if "-m venv" in command:  # what HuleEdu needs is here already; HuleEdu itself comes from the wheel alone
            (site,) = (self.root / "opt/huleedu/lib").glob("python*/site-packages")
            (site / "here.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
        return done.stdout

    def settings(self) -> dict[str, str]:
        """Return the settings of the service."""
        lines = (self.root / "etc/huleedu.env").read_text().split()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def _surroundings(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/opt/huleedu/bin:{Path(HULEEDU).parent}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "CURL_CA_BUNDLE": str(self.certificate),
            "PIP_NO_DEPS": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _control(self, what: str, unit: str) -> None:
        if unit == "nginx":
            self._start_nginx()
        elif what in {"stop", "restart"}:
            assert self.server.stop() == 0
        if unit == "huleedu" and what in {"start", "restart", "enable"}:
            self.start()

    def start(self) -> None:
        """Start the server, as the unit does: with these settings, at the port that nginx knows."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.settings().items():
                patch.setenv(name, value)
            installed = self.root / "opt/huleedu/bin/huleedu"
            patch.setattr(served, "HULEEDU", str(installed if installed.exists() else HULEEDU))
            self.server = self._stack.enter_context(served.served(self.data, "--port", str(self.upstream)))

    def _start_nginx(self) -> None:
        """Start the real one, as whoever runs the tests. It listens before this command ends."""
        subprocess.run(self._nginx, check=True, timeout=20)
        process = psutil.Process(int((self.root / "nginx.pid").read_text()))
        self._stack.callback(process.wait, STOP_SECONDS)
        self._stack.callback(process.terminate)

    @property
    def _nginx(self) -> list[str]:
        if not NGINX.exists():
            pytest.fail(f"{NGINX} is missing. Install it: apt-get install nginx-light")
        log, kinds = self.root / "nginx.log", ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {self.root}/tmp-{kind};" for kind in kinds)
        (self.root / "nginx.conf").write_text(
            f"master_process off; pid {self.root}/nginx.pid; error_log {log}; events {{}}\n"
            f"http {{ access_log {log}; {temporary} include {self.root}/etc/nginx/conf.d/*.conf; }}\n"
        )
        return [str(NGINX), "-e", str(log), "-p", str(self.root), "-c", str(self.root / "nginx.conf")]


def blocks(page: str) -> dict[str, str]:
    """Return the files that a page shows whole."""
    text = (ROOT / "docs/how-to" / page).read_text()
    return {block["file"]: block["text"] for block in BLOCK.finditer(text) if block["file"]}


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Machine]:
    """Return a machine on which nothing is installed."""
    with ExitStack() as stack:
        yield Machine(tmp_path, stack)


@pytest.fixture
def machine(bare: Machine) -> Machine:
    """Return a machine with this HuleEdu on it, which runs."""
    (bare.root / "opt/huleedu").symlink_to(Path(HULEEDU).parents[1])
    bare.start()
    return bare


# -- https.md


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Machine]:
    """Return a machine on which https.md was followed to its end."""
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    with ExitStack() as stack:
        site = Machine(tmp_path_factory.mktemp("site"), stack)
        files = ["-keyout", site.certificate.with_name("privkey.pem"), "-out", site.certificate]
        subprocess.run([*make.split(), *map(str, files)], check=True, capture_output=True)
        for file in (wheel, constraints(wheel)):
            shutil.copy(file, site.root / "home")
        site.follow("https.md")
        yield site


def browser(site: Machine, transport: httpx2.HTTPTransport | None = None) -> httpx2.Client:
    """Return what a browser would be: it trusts the certificate, keeps cookies and says from which page it asks."""
    return httpx2.Client(
        base_url=site.url, verify=trusting(site), headers={"origin": site.url}, transport=transport, timeout=60
    )


def trusting(site: Machine) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=site.certificate)


def test_a_school_is_served_over_https(site: Machine) -> None:
    assert site.server.url == f"http://127.0.0.1:{site.upstream}"
    with browser(site) as http:
        assert (
            http.get(f"http://localhost:{site.plain_port}/batches").headers["location"] == "https://localhost/batches"
        )
        page = http.get("/", headers={"accept": "text/html"})
        assert ("__Host-" in page.text, page.headers["strict-transport-security"]) == (False, "max-age=31536000")
        script = re.search(r'src="(/assets/[^"]+)"', page.text)
        assert script
        assert http.get(script[1]).headers["content-encoding"] == "gzip"

        site.shell("huleedu user add anna@school.se --name 'Anna Ek'")
        link = site.shell("huleedu user link anna@school.se").strip()
        assert link.startswith(f"{site.url}/sign-in#")
        answer = http.post("/v1/session", json={"link": link.partition("#")[2]})
        assert answer.status_code == 201, answer.text
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-huleedu=")
        assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}

        batch_id = http.post("/v1/batches", json={"title": "9B"}).json()["batch_id"]
        big = ("big.txt", (PRESENT.encode() + b"\n") * 60_000)
        items = http.post(f"/v1/batches/{batch_id}/essays", files=[("files", big), ("files", ("a.txt", PRESENT))])
        assert [item["status"] for item in items.json()["items"]] == ["refused", "stored"], items.text
        too_much = http.post(f"/v1/batches/{batch_id}/essays", content=b"x" * (102 * 2**20))
        assert too_much.status_code == 413
        assert "content-encoding" not in http.get("/v1/batches").headers

        shown = cookie.partition(";")[0]
        assert greeted(site, site.url, shown) == "welcome"
        with pytest.raises(ConnectionClosed) as refused:
            greeted(site, "https://elsewhere.example", shown)
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code == 4403


def greeted(site: Machine, origin: str, cookie: str) -> str:
    """Open the live connection as a page at this origin, and return its first frame."""
    address = site.url.replace("https", "wss") + "/ws"
    with connect(
        address, ssl=trusting(site), origin=Origin(origin), additional_headers={"cookie": cookie}, proxy=None
    ) as socket:
        socket.send('{"event": "hello", "cursor": null}')
        return str(json.loads(socket.recv(10))["event"])


def test_addresses_are_told_apart_and_cannot_be_feigned(site: Machine) -> None:
    near, far = (httpx2.HTTPTransport(verify=trusting(site), local_address=f"127.0.0.{n}") for n in (2, 3))
    wrong = {"email": "anna@school.se", "password": "not the right one"}
    with browser(site, transport=near) as one, browser(site, transport=far) as other:
        tries = [one.post("/v1/session", json=wrong | {"email": f"{n}@school.se"}) for n in range(31)]
        assert [answer.status_code for answer in tries] == [401] * 30 + [429]
        feigned = {"x-forwarded-for": "127.0.0.3"}
        assert one.post("/v1/session", json=wrong, headers=feigned).status_code == 429
        assert other.post("/v1/session", json=wrong).status_code == 401


def test_a_proxy_on_another_machine_is_believed_and_nobody_else_is(bare: Machine) -> None:
    page = (ROOT / "docs/how-to/https.md").read_text()
    lines = re.findall(r"`(HULEEDU_HOST=.+?|FORWARDED_ALLOW_IPS=.+?)`", page)
    assert len(lines) == 2
    bare.write("/etc/huleedu.env", "\n".join([blocks("https.md")["/etc/huleedu.env"], *lines]))
    bare.start()
    wrong = {"email": "anna@school.se", "password": "not the right one"}

    def tried(sender: int) -> list[int]:
        """Try 31 passwords from 127.0.0.<sender>, which says that two others do."""
        transport = httpx2.HTTPTransport(local_address=f"127.0.0.{sender}")
        with httpx2.Client(base_url=bare.server.url, headers={"origin": bare.url}, transport=transport) as http:
            told = [{"x-forwarded-for": f"203.0.113.{sender}{place % 2}"} for place in range(31)]
            tries = [wrong | {"email": f"{sender}.{place}@school.se"} for place in range(31)]
            answers = [http.post("/v1/session", json=one, headers=of) for one, of in zip(tries, told, strict=True)]
        return [answer.status_code for answer in answers]

    assert tried(2) == [401] * 31
    assert tried(3) == [401] * 30 + [429]
    assert tried(1) == [401] * 30 + [429], "it is the proxy's machine that is believed, not this one"


def test_a_wrong_public_address_is_told_and_mended_as_the_page_says(site: Machine) -> None:
    (check,) = (command for command in site.done if command.startswith("curl") and "/v1/session" in command)
    environment = site.root / "etc/huleedu.env"
    right = environment.read_text()
    environment.write_text(right.replace("https://", "http://"))
    site.obey("systemctl restart huleedu", "")
    assert {'"status":403', '"code":"CROSS_ORIGIN"'} <= set(site.shell(check).strip("{}").split(","))
    environment.write_text(right)
    site.obey("systemctl restart huleedu", "")
    assert '"code":"LINK_UNUSABLE"' in site.shell(check)


def test_the_unit_starts_what_there_is() -> None:
    shown = blocks("https.md")
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(shown["/etc/systemd/system/huleedu.service"])
    service = unit["Service"]
    assert (service["User"], service["Restart"]) == ("huleedu", "always")
    settings = dict(line.split("=") for line in shown[service["EnvironmentFile"]].split())
    assert settings["HULEEDU_DATA_DIR"] == f"/var/lib/{service['StateDirectory']}"
    assert {name.removeprefix("HULEEDU_").lower() for name in settings} <= set(Settings.model_fields)
    program, command, *words = service["ExecStart"].split()
    assert program == "/opt/huleedu/bin/huleedu"
    commands: Any = typer.main.get_command(app)
    commands.commands[command].make_context(command, words)  # raises for a flag that is not there


# -- users.md


def test_accounts_are_kept_as_the_page_says(machine: Machine) -> None:
    machine.follow("users.md")
    assert {" ".join(command.split()[:3]) for command in machine.done} == {
        f"huleedu user {what}" for what in ("add", "link", "list", "token", "disable")
    }


# -- back-up.md and upgrade.md


def teaching(machine: Machine) -> str:
    """Have a teacher's class assessed, and return a token of hers."""
    machine.shell("huleedu user add anna@school.se --name 'Anna Ek'")
    token = machine.shell("huleedu user token anna@school.se").strip()
    essays = shlex.join(str(ROOT / "examples/class-9b" / name) for name in ("Tuva.txt", "Maja L engelska.docx"))
    machine.shell(f"huleedu assess {essays} --pipeline nlp --url {machine.server.url} --token {token}")
    return token


def seen(machine: Machine, token: str, title: str = "") -> dict[str, Any]:
    """Return all that a teacher sees of her classes: their state, and every essay with its text and results."""
    with served.client(machine.server.url, token) as http:
        found: dict[str, Any] = {}
        for batch in http.get("/v1/batches").raise_for_status().json()["items"]:
            if title not in (batch["title"] or ""):
                continue
            address = f"/v1/batches/{batch['batch_id']}"
            essays = http.get(f"{address}/essays").raise_for_status().json()["items"]
            whole = [http.get(f"{address}/essays/{one['essay_id']}").raise_for_status().json() for one in essays]
            told = {name: value for name, value in batch.items() if name not in {"version", "live_cursor"}}
            found[batch["batch_id"]] = (told, whole)
        return found


def holds_what_it_names(data: Path) -> bool:
    """Return whether a copy has the blobs of all of its essays, and nothing of any other essay."""
    named = rows(data, "SELECT original_id, text_storage_id, batch_id || '/' || essay_id FROM essay")
    kept = {str(path.relative_to(data / "blobs")) for path in data.glob("blobs/*/*/**/*") if path.is_file()}
    own = {blob for original, text, _ in named for blob in (original, text)}
    essays = {place for _, _, place in named}
    return own <= kept and {"/".join(blob.split("/")[:2]) for blob in kept} <= essays


def test_a_class_comes_back_from_a_back_up(machine: Machine) -> None:
    token = teaching(machine)
    before = seen(machine, token)
    assert [len(essays) for _, essays in before.values()] == [2]
    machine.follow("back-up.md", "Back up")
    with served.client(machine.server.url, token) as http:
        for batch_id in before:
            answers = (http.delete(f"/v1/batches/{batch_id}").status_code for _ in range(1_000))
            assert next(status for status in answers if status != 202) == 204  # every service has let go of it
    assert seen(machine, token) == {}
    (copy,) = copies(machine)
    assert holds_what_it_names(copy)
    assert copy.stat().st_mode & 0o077 == 0
    machine.follow("back-up.md", "Restore")
    assert seen(machine, token) == before


def copies(machine: Machine) -> list[Path]:
    return sorted((machine.root / "var/backups/huleedu").iterdir())


def test_a_copy_that_is_made_while_essays_come_in_is_whole(machine: Machine) -> None:
    token = teaching(machine)
    before = seen(machine, token)
    enough = threading.Event()

    def upload() -> None:
        with served.client(machine.server.url, token) as http:
            batch_id = http.post("/v1/batches", json={}).json()["batch_id"]
            while not enough.is_set():
                files = [("files", (f"{n}.txt", f"{os.urandom(8).hex()} {PRESENT}")) for n in range(5)]
                http.post(f"/v1/batches/{batch_id}/essays", files=files).raise_for_status()

    uploading = threading.Thread(target=upload)
    uploading.start()
    try:
        for place in range(3):
            machine.shell(f"huleedu backup {machine.root}/var/backups/{place}")
    finally:
        enough.set()
        uploading.join()
    sizes = [rows(machine.root / f"var/backups/{place}", "SELECT count(*) FROM essay")[0][0] for place in range(3)]
    assert 2 <= sizes[0] < sizes[2]
    assert all(holds_what_it_names(machine.root / f"var/backups/{place}") for place in range(3))
    machine.obey("systemctl stop huleedu", "")
    machine.data = machine.root / "var/backups/2"
    machine.start()
    assert seen(machine, token, title="Assessed from") == before


@pytest.mark.parametrize("copy", ["huleedu backup {}", "cp -a huleedu-data {}"])
def test_a_stopped_server_is_copied_by_any_means(machine: Machine, copy: str) -> None:
    token = teaching(machine)
    before = seen(machine, token)
    machine.obey("systemctl stop huleedu", "")
    machine.shell(copy.replace("huleedu-data", str(machine.data)).format(machine.root / "copy"))
    machine.data = machine.root / "copy"
    machine.start()
    assert seen(machine, token) == before


def test_an_essay_whose_text_was_erased_during_the_copy_can_be_deleted(machine: Machine) -> None:
    token = teaching(machine)
    machine.obey("systemctl stop huleedu", "")
    machine.shell(f"huleedu backup {machine.root}/copy")
    ((batch_id, essay_id),) = rows(machine.data, "SELECT batch_id, essay_id FROM essay LIMIT 1")
    shutil.rmtree(machine.root / "copy/blobs" / batch_id / essay_id)
    machine.data = machine.root / "copy"
    machine.start()
    address = f"/v1/batches/{batch_id}/essays"
    with served.client(machine.server.url, token) as http:
        assert "no such essay" in http.get(f"{address}/{essay_id}").json()["detail"]
        assert http.delete(f"{address}/{essay_id}").status_code == 204


def test_every_night_a_copy_comes_and_old_ones_go(machine: Machine) -> None:
    machine.follow("back-up.md", "Back up")
    today, old = copies(machine)[0], copies(machine)[0].with_name("2001-01-01")
    today.rename(old)
    (old / "blobs/batch").mkdir()
    os.utime(old, (0, 0))
    shell, *lines = (machine.root / "etc/cron.d/huleedu").read_text().splitlines()
    assert shell == "SHELL=/bin/bash"
    for line in lines:
        *when, who, command = line.split(maxsplit=6)
        assert (len(when), who) == (5, "huleedu")
        assert machine.shell(command.replace("\\%", "%")) == ""
    assert copies(machine) == [today]


@pytest.mark.parametrize(
    ("target", "said"), [("{root}/home", "is there already"), ("/proc/none/copy", "Cannot back up"), ("{root}/x", "")]
)
def test_a_back_up_that_cannot_be_made_is_told(machine: Machine, target: str, said: str) -> None:
    told = served.told("backup", target.format(root=machine.root), "--data-dir", machine.data, code=2 if said else 0)
    assert said in told
    assert not list(machine.root.glob("*.part"))


def repacked(wheel: Path, version: str, folder: Path, *, changes_database: bool = False) -> None:
    """Make the wheel of another version out of this one."""
    with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(folder / f"huleedu-{version}-py3-none-any.whl", "w") as made:
        present = wheel.name.split("-")[1]
        for name in given.namelist():
            data = given.read(name)
            if name.endswith(("dist-info/METADATA", "huleedu/__init__.py")):
                data = re.sub(
                    rb'^(Version: |__version__ = ")[^"\n]+', rb"\g<1>" + version.encode(), data, flags=re.MULTILINE
                )
            made.writestr(name.replace(f"huleedu-{present}.dist-info", f"huleedu-{version}.dist-info"), data)
        if changes_database:
            migration = 'revision, down_revision = "files_later", None\nbranch_labels, depends_on = ("later",), None\n'
            made.writestr("huleedu/files/migrations/9999_later.py", f"{migration}\n\ndef upgrade(): ...\n")
    shutil.copy(constraints(wheel), folder / f"huleedu-{version}-constraints.txt")


@pytest.mark.timeout(360)  # the package is built too, unless another test wanted it before
def test_an_upgrade_and_the_way_back(bare: Machine, wheel: Path) -> None:
    repacked(wheel, "0.1.0", bare.root / "home")
    bare.shell("python3 -m venv /opt/huleedu; /opt/huleedu/bin/pip install --constraint huleedu-*.txt huleedu-*.whl")
    repacked(wheel, "0.2.0", bare.root / "home", changes_database=True)
    bare.start()
    token = teaching(bare)
    before = seen(bare, token)
    bare.shell("install -d -m 700 /var/backups/huleedu")
    page = (ROOT / "docs/how-to/upgrade.md").read_text()
    upgrade, back = page.split("\n## ")
    bare.follow("upgrade.md", upgrade.partition("\n")[0])
    assert seen(bare, token) == before
    assert rows(bare.data, "SELECT 1 FROM alembic_version WHERE version_num = 'files_later'")
    bare.follow("upgrade.md", back.partition("\n")[0])
    assert seen(bare, token) == before
    assert not rows(bare.data, "SELECT 1 FROM alembic_version WHERE version_num = 'files_later'")


# -- what all of them install; here, because a file of its own would have the package built a second time beside this


def done(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a command that must go well, and return what it printed."""
    ended = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=240
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.timeout(300)
def test_the_wheel_brings_the_page(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so in an empty environment, on a machine that has no Node."""
    done(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    bare = {"PATH": str(tmp_path / "venv/bin"), "HOME": os.environ.get("HOME", ""), "UV_SYSTEM_CERTS": "1"}
    assert shutil.which("node", path=bare["PATH"]) is None
    python = tmp_path / "venv/bin/python"
    named = constraints(wheel)
    done(UV, "pip", "install", "--quiet", "--python", python, "--constraint", named, wheel)
    installed = set(done(UV, "pip", "freeze", "--python", python, "--exclude", "huleedu").split("\n")) - {""}
    assert {"fastapi", "pydantic", "uvicorn"} < {line.partition("==")[0] for line in installed}
    assert installed <= {line.partition(" ;")[0] for line in named.read_text().split("\n")}
    monkeypatch.setattr(served, "HULEEDU", str(tmp_path / "venv/bin/huleedu"))
    monkeypatch.setenv("PATH", bare["PATH"])
    with served.served(tmp_path / "data") as server:
        page = httpx2.get(server.url, headers={"accept": "text/html"}).raise_for_status()
        assert '<div id="app">' in page.text
        script = page.text.partition('src="/assets/')[2].partition('"')[0]
        assert httpx2.get(f"{server.url}/assets/{script}").raise_for_status().content
        assert "Tuva.txt" in httpx2.get(f"{server.url}/sample/index.json").raise_for_status().json()
