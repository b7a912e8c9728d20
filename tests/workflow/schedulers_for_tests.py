"""Stand-ins for the commands of Slurm and HTCondor and for a Kubernetes API server: they keep what
is submitted and carry it out on this machine."""

import json
import os
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SBATCH = """#!/bin/bash
if [[ "$*" == *--test-only* ]]; then echo "$*" >> KEPT/asked
  [[ "$*" == *--cpus-per-task=4096* ]] || exit 0
  echo "allocation failure: Requested node configuration is not available" >&2; exit 1; fi
script="${@: -1}"; cp "$script" KEPT/
setsid bash "$script" >"$(sed -n 's/^#SBATCH --output=//p' "$script")" \\
  2>"$(sed -n 's/^#SBATCH --error=//p' "$script")" </dev/null &
echo "Submitted batch job $!"
"""
SQUEUE = """#!/bin/bash
if [[ -e KEPT/down ]]; then
  echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; fi
for job in $(tr , ' ' <<< "${@: -1}"); do kill -0 $job 2>/dev/null && echo "$job R" && any=1; done
[[ $any ]] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
"""
SCANCEL = """#!/bin/bash
for job in "$@"; do kill -- -$job 2>/dev/null; done; true
"""
CONDOR_SUBMIT = """#!/bin/bash
cp "$1" KEPT/; value() { sed -n "s/^$1 *= *//p" "$2"; }
setsid bash "$(value transfer_input_files "$1")" >"$(value output "$1")" \\
  2>"$(value error "$1")" </dev/null &
echo "Submitting job(s)."; echo "1 job(s) submitted to cluster $!."
"""
CONDOR_Q = """#!/bin/bash
for job in "$@"; do [[ $job == *.0 ]] || continue
  kill -0 ${job%.0} 2>/dev/null && echo "$job 2" || echo "$job 4"; done
"""
CONDOR_RM = """#!/bin/bash
for job in "$@"; do [[ $job == *.0 ]] && kill -- -${job%.0} 2>/dev/null; done; true
"""
COMMANDS = {
    "slurm": {
        "sbatch": SBATCH,
        "squeue": SQUEUE,
        "scancel": SCANCEL,
        "sacct": "#!/bin/bash\nexit 1\n",
    },
    "htcondor": {"condor_submit": CONDOR_SUBMIT, "condor_q": CONDOR_Q, "condor_rm": CONDOR_RM},
    "kubernetes": {},
}


def put_on_path(kind, folder, monkeypatch):
    """The commands of a scheduler on PATH; what is submitted to them is kept in the folder that is
    returned."""
    kept, commands = folder / "kept", folder / "commands"
    kept.mkdir()
    commands.mkdir()
    for name, text in COMMANDS[kind].items():
        (commands / name).write_text(text.replace("KEPT", str(kept)))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return kept


class Pods(ThreadingHTTPServer):
    """An API server on loopback that knows pods only, and runs their one container as a process."""

    def __init__(self, kept):
        super().__init__(("127.0.0.1", 0), _Request)
        self.kept, self.pods = kept, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def configure(self, file):
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        tree = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "contexts": [context],
            "current-context": "x",
        }
        file.write_text(json.dumps(tree | {"users": [{"name": "u", "user": {}}]}))

    def close(self):
        self.shutdown()
        self.server_close()
        for process in self.pods.values():
            process.kill()
            process.wait()


class _Request(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def _answer(self, status, tree):
        body = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        pod = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, container = pod["metadata"]["name"], pod["spec"]["containers"][0]
        (self.server.kept / f"{name}.json").write_text(json.dumps(pod | {"path": self.path}))
        self.server.pods[name] = subprocess.Popen(
            [*container["command"], *container["args"]], start_new_session=True
        )
        self._answer(201, pod)

    def do_GET(self):
        process = self.server.pods[self.path.rpartition("/")[2]]
        self._answer(
            200, {"status": {"phase": "Running" if process.poll() is None else "Succeeded"}}
        )

    def do_DELETE(self):
        process = self.server.pods[self.path.rpartition("/")[2]]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        self._answer(200, {"kind": "Status"})
