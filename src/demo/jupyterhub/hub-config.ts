/** What `HUB_CONFIG` reads from `rig.json` beside it. */
export interface HubSettings {
  /** Public address of the proxy, with the base path. */
  readonly url: string
  readonly hubUrl: string
  readonly proxyApiUrl: string
  readonly proxyCommand: readonly string[]
  readonly bin: string
  readonly token: string
  /** Planted into every new server's home, when there is one. */
  readonly notebook?: unknown
}

/**
 * A stock hub: nobody can log in (the dummy authenticator allows no one), servers are local processes, and one service
 * token has the three scopes that the gateway needs. Where it is given a notebook, it plays the hub's part of `content: none`:
 * a hook puts it into each new server's home, under the name in `user_options["file"]` when there is one.
 *
 * The hub ends when its standard input does, so that it never outlives whoever started it.
 */
export const HUB_CONFIG = `
import json
import os
import signal
import threading
from pathlib import Path, PurePosixPath

folder = Path(__file__).resolve().parent
rig = json.loads((folder / "rig.json").read_text(encoding="utf-8"))

c.JupyterHub.bind_url = rig["url"]
c.JupyterHub.hub_bind_url = rig["hubUrl"]
c.JupyterHub.db_url = "sqlite:///" + str(folder / "jupyterhub.sqlite")
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")
c.ConfigurableHTTPProxy.api_url = rig["proxyApiUrl"]
c.ConfigurableHTTPProxy.command = rig["proxyCommand"]
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")

c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.services = [{"name": "gateway", "api_token": rig["token"]}]
c.JupyterHub.load_roles = [
    {"name": "gateway", "services": ["gateway"], "scopes": ["admin:users", "servers", "tokens"]}
]

c.JupyterHub.spawner_class = "jupyterhub.spawner.SimpleLocalProcessSpawner"
c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "homes" / "{username}")
c.Spawner.cmd = [rig["bin"] + "/jupyterhub-singleuser"]
c.Spawner.http_timeout = 120
if os.geteuid() == 0:
    c.Spawner.args = ["--allow-root"]


def plant_notebook(spawner):
    asked = PurePosixPath(str(spawner.user_options.get("file", ""))).name
    name = asked if asked.endswith(".ipynb") else "Welcome.ipynb"
    home = Path(spawner.home_dir)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / name).exists():
        (home / name).write_text(json.dumps(rig["notebook"]), encoding="utf-8")


if "notebook" in rig:
    c.Spawner.pre_spawn_hook = plant_notebook


def end_with_stdin():
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=end_with_stdin, daemon=True).start()
`

/**
 * Ends a hub (argv: its folder, its process id, seconds it may take) and all that it started: the processes whose home
 * is in its folder, wherever in the process tree they are. What is left after that time is killed.
 */
export const STOP_HUB = `
import sys, time, psutil
from pathlib import Path

folder, hub, patience = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def belongs(process):
    try:
        return Path(process.environ().get("HOME", "/")).is_relative_to(folder)
    except psutil.Error:
        return False


def send(process, action):
    try:
        action(process)
    except psutil.NoSuchProcess:
        pass


def ours():
    return [process for process in psutil.process_iter() if belongs(process)]


for process in ours():
    if process.pid == hub:
        send(process, psutil.Process.terminate)
kill_at = time.monotonic() + (patience if psutil.pid_exists(hub) else 0)
while processes := ours():
    if time.monotonic() > kill_at:
        for process in processes:
            send(process, psutil.Process.kill)
    time.sleep(0.05)
`
