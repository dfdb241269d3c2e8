"""A Slurm of its own on this host, without systemd: munged, slurmctld and one slurmd with two cores, all in a folder that
goes when it ends. It needs root, and Debian's slurmctld, slurmd, slurm-client and munge."""
import os
import shutil
import socket
import subprocess
import tempfile
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo")

CONFIG = """ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort=17000
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=2,bf_interval=1,default_queue_depth=2000
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=2 State=UNKNOWN
PartitionName=bench Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
    """Why there can be no Slurm here, or None."""
    for program in PROGRAMS:
        if shutil.which(program) is None and not os.path.exists("/usr/sbin/" + program):
            return f"no {program}; apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "it needs root"


class Slurm:
    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="capsweep-slurm-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        for name in ("run", "state", "spool-node1"):
            os.mkdir(f"{self.folder}/{name}", 0o755)
        with open(f"{self.folder}/slurm.conf", "w") as file:
            file.write(CONFIG.format(host=socket.gethostname().split(".")[0], folder=self.folder))
        self.environment = {**os.environ, "SLURM_CONF": f"{self.folder}/slurm.conf",
                            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self.daemons = []
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        munge = f"{self.folder}/munge"
        os.mkdir(munge, 0o700)
        with open(os.open(f"{munge}/key", os.O_CREAT | os.O_WRONLY, 0o400), "wb") as file:
            file.write(os.urandom(128))
        self.daemon("munged", "-F", "--force", f"--key-file={munge}/key", f"--socket={self.folder}/run/munge.sock",
                    f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        self.wait(lambda: os.path.exists(f"{self.folder}/run/munge.sock"))
        self.daemon("slurmctld", "-D")
        self.daemon("slurmd", "-D", "-N", "node1")
        self.wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"))

    def daemon(self, *argv):
        self.daemons.append(subprocess.Popen(argv, env=self.environment, stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def ask(self, *argv):
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True).stdout

    def wait(self, what, seconds=60):
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self.daemons):
                raise RuntimeError("Slurm did not start")
            time.sleep(0.05)

    def run_array(self, tasks):
        """Seconds until an array job of so many no-ops, two at a time, has left the queue."""
        start = time.monotonic()
        subprocess.run(["sbatch", "-n1", f"--array=1-{tasks}", "-o", "/dev/null", "--wrap", "true"], env=self.environment,
                       check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        while self.ask("squeue", "-h", "-o", "%A").strip():
            time.sleep(0.2)
        return time.monotonic() - start
