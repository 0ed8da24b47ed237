"""JupyterLab as `docker run IMAGE` starts it: one container for all questions, then its end."""

from __future__ import annotations

import re
import socket

import httpx
import pytest
from containers import INVITATION, Container, docker, wait_for

PROBE_LIMIT = 0.02  # CPU seconds of one health check
# Who was refused is worth a line.
REFUSED = [r"wrote error: 'Forbidden'$", r"403 GET /api/contents(\?token=\[secret\])? "]
COST = """
import resource, subprocess
for _ in range(20):
    subprocess.run(["/usr/local/bin/healthcheck"], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print((used.ru_utime + used.ru_stime) / 20)
"""


@pytest.fixture(scope="module")
def server(start_shared) -> Container:
    container: Container = start_shared(options=["--publish", "127.0.0.1::8888"])
    container.wait_for_server()
    return container


def test_log_is_a_few_lines_and_ends_with_the_address(server: Container) -> None:
    lines = server.log.splitlines()
    assert len(lines) <= 4, lines
    found = INVITATION.search(lines[-1])
    assert found and re.fullmatch(
        r"http://127\.0\.0\.1:8888/lab/tree/labs/welcome\.md\?token=[0-9a-f]{48}", found["url"]
    )
    assert "-p 127.0.0.1:8888:8888" in lines[-1]


def test_no_gpu_is_said_once_with_the_remedy(server: Container, device: str) -> None:
    about = [line for line in server.log.splitlines() if "GPU" in line]
    assert len(about) == 1
    assert ("docker run --gpus all" in about[0]) == (device == "cuda") and "Everything runs on the CPU." in about[0]


def test_small_shared_memory_is_said_once_with_the_remedy(server: Container) -> None:
    about = [line for line in server.log.splitlines() if "/dev/shm" in line]
    assert len(about) == 1 and "64 MB" in about[0] and "--shm-size=2g" in about[0]


def test_the_published_port_leads_to_the_welcome_page(server: Container) -> None:
    port = docker("port", server.name, "8888").rsplit(":", 1)[1].strip()
    url = server.wait_for_server().replace(":8888", f":{port}")
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=30) as client:
        page = client.get(url)
    assert page.status_code == 200 and "jupyter-config-data" in page.text


def test_without_the_token_nothing_is_told(server: Container) -> None:
    server.allowed += REFUSED
    assert server.http("/api/contents").status_code == 403
    assert server.http("/lab").headers["location"].startswith("/login")


def test_a_wrong_token_is_refused(server: Container) -> None:
    server.allowed += REFUSED
    answer = server.http("/api/contents", headers={"Authorization": "token 0123456789abcdef"})
    assert answer.status_code == 403
    assert server.http("/api/contents?token=").status_code == 403


def test_the_token_opens_home_with_labs(server: Container) -> None:
    names = {entry["name"] for entry in server.as_student("/api/contents").json()["content"]}
    assert "labs" in names


def test_the_token_is_in_no_command_line_and_no_environment(server: Container) -> None:
    token = server.token
    seen = server.execute(
        "sh", "-c", "tr '\\0' '\\n' < /proc/1/environ; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ps -ewwf"
    )
    assert "jupyter-lab" in seen and token not in seen
    assert token not in server.execute("cat", f"/proc/{server.server_process}/environ")


def test_it_listens_on_ipv6_too(server: Container) -> None:
    listening = server.execute("sh", "-c", "cat /proc/net/tcp6 2>/dev/null | awk '{print $2, $4}'")
    if ":" not in listening:
        assert not socket.has_ipv6 or "tcp6" not in server.execute("ls", "/proc/net")
    assert ":22B8 0A" in listening  # port 8888, state LISTEN


def test_health_check_answers_and_costs_little(server: Container) -> None:
    assert server.execute("healthcheck") == ""
    assert float(server.execute("/usr/bin/python3", "-", stdin=COST)) <= PROBE_LIMIT


def test_health_check_is_in_the_image(server: Container) -> None:
    check = server.inspect("{{json .Config.Healthcheck}}")
    assert '["CMD","/usr/local/bin/healthcheck"]' in check and '"Interval":30000000000' in check


def test_health_check_runs_for_root_too(server: Container) -> None:
    server.execute("healthcheck", user="0")


def test_health_check_of_root_believes_nothing_that_a_user_wrote(start) -> None:
    """What stands in the student's folder is read as the student: root's curl writes no file for him."""
    container: Container = start(options=["--user", "root"])
    container.wait_for_server()
    container.execute("healthcheck", user="0")
    folder = container.execute("sh", "-c", "echo /tmp/coursebox-1000-*", user="1000").strip()
    wanted = "/root/written-by-a-student"
    evil = f'url = "file:///etc/hostname"\noutput = "{wanted}"\n'
    for line in ("-K/tmp/evil", f"--output {wanted} file:///etc/hostname", "file:///etc/hostname", "scp://127.0.0.1/"):
        script = 'printf "%b" "$1" >/tmp/evil; printf "%s\\n" "$2" >"$3/server"'
        container.execute("sh", "-c", script, "sh", evil, line, folder, user="1000")
        done = docker("exec", "--user", "0", container.name, "healthcheck", check=False)
        assert done.strip(), line
        assert container.execute("ls", "-A", "/root", user="0").split().count(wanted.rsplit("/", 1)[1]) == 0, line


def test_health_check_passes_over_folders_of_others(start) -> None:
    """A folder with another user's name, or a link: nobody reads it."""
    container: Container = start("sleep", "infinity", options=["--user", "root"])
    wait_for(lambda: "sleep" in container.execute("ps", "-ewwf"), "the command runs")
    script = """
        n=$(stat --dereference --format=%i /proc/self/ns/pid)
        mkdir -p /tmp/mine /tmp/coursebox-0-$n /tmp/coursebox-x-$n /tmp/coursebox--$n
        echo http://127.0.0.1:9/ | tee /tmp/coursebox-*-$n/server >/tmp/mine/server
        rm /tmp/coursebox-1000-$n/server
        ln -s /tmp/mine /tmp/coursebox-1001-$n
    """
    container.execute("sh", "-c", script, user="1000")
    assert container.execute("healthcheck", user="0") == ""


def test_requests_leave_no_line(server: Container) -> None:
    before = server.log
    assert server.as_student("/api/status").status_code == 200
    assert server.http("/lab").status_code == 302
    assert server.log == before


def test_a_terminal_is_a_login_shell_in_the_home(server: Container) -> None:
    assert server.as_student("/api/terminals", method="POST").status_code == 200
    wait_for(lambda: any(re.search(r"bash -l", line) for line in server.processes()), "a login shell runs")


def test_sigterm_ends_it_within_three_seconds_with_a_busy_kernel(server: Container) -> None:
    # ipykernel answers the interrupted cell after it has closed its sockets, and complains about that.
    server.allowed += [
        r"^\[IPKernelApp\] ERROR \| Exception in message handler:$",
        "^Traceback",
        r"^zmq\.error\.ZMQError",
    ]
    server.start_busy_kernel()
    assert server.alarms() == []
    assert server.stop("TERM") <= 3
    assert server.exit_status == 0


def test_the_end_tells_why(server: Container) -> None:
    assert "received signal 15, stopping" in server.log


def test_health_check_fails_while_the_server_hangs(start) -> None:
    container: Container = start()
    container.wait_for_server()
    container.execute("healthcheck")
    container.execute("kill", "-STOP", process := container.server_process)
    assert "timed out" in container.execute("healthcheck", status=28)
    container.execute("kill", "-CONT", process)


def test_another_command_is_healthy(start) -> None:
    container: Container = start("sleep", "60")
    wait_for(lambda: "sleep 60" in container.processes()[1], "the command runs")
    assert container.execute("healthcheck") == ""


def test_server_options_are_passed_on(start) -> None:
    """Behind the image's name, with start-notebook or without, and in NOTEBOOK_ARGS."""
    container: Container = start(
        "--ServerApp.base_url=/course", options=["--env", "NOTEBOOK_ARGS=--ServerApp.port=9001 --no-browser"]
    )
    assert container.wait_for_server().startswith("http://127.0.0.1:9001/course/lab/")
    assert container.http("/course/api", port=9001).status_code == 200
    container.execute("healthcheck")


def test_jupyter_port(start) -> None:
    container: Container = start("start-notebook", options=["--env", "JUPYTER_PORT=9999"])
    assert container.wait_for_server().startswith("http://127.0.0.1:9999/lab")
    assert container.http("/api", port=9999).status_code == 200
    container.execute("healthcheck")


def test_services_of_kubernetes_are_no_ports(start) -> None:
    """A service of the name "jupyter" or "ssh" sets such variables in every pod of its namespace."""
    names = ("JUPYTER_PORT", "SSH_PORT", "MASTER_PORT")
    options = [word for name in names for word in ("--env", f"{name}=tcp://10.43.73.21:80")]
    container: Container = start(options=options)
    assert container.wait_for_server().startswith("http://127.0.0.1:8888/lab")
    environment = container.execute("cat", f"/proc/{container.server_process}/environ")
    assert not any(f"{name}=" in environment for name in names)


def test_a_port_in_use_gets_a_sentence(start) -> None:
    first: Container = start()
    first.wait_for_server()
    second: Container = start(
        options=["--network", f"container:{first.name}"], allowed=["error: the server cannot listen"]
    )
    second.wait_for_line(r"error: the server cannot listen on port 8888 \(Address already in use\)$")
    wait_for(lambda: not second.running, "the second one ends")
    assert second.exit_status == 1
    assert "JUPYTER_PORT" in second.log
    assert first.running


def test_restartable(start) -> None:
    """RESTARTABLE: a server that ends comes back; the container still ends by a signal."""
    container: Container = start(options=["--env", "RESTARTABLE=yes"])
    container.wait_for_server()
    assert container.as_student("/api/shutdown", method="POST").status_code == 200
    container.wait_for_line("starts again")
    wait_for(lambda: len(INVITATION.findall(container.log)) == 2, "the second start")
    assert container.stop("TERM") <= 3
    assert container.exit_status == 0


def test_without_network(start) -> None:
    container: Container = start(options=["--network", "none"])
    container.wait_for_server()
    container.execute("healthcheck")


def test_other_commands_of_jupyter(start) -> None:
    container: Container = start(options=["--env", "DOCKER_STACKS_JUPYTER_CMD=server"])
    container.wait_for_server()
    wait_for(lambda: any("jupyter-server" in line for line in container.processes()), "jupyter server runs")


def test_umask_and_unset_variables_reach_the_notebooks(start) -> None:
    options = ["--env", "NB_UMASK=002", "--env", "SECRET_ONE=1", "--env", "SECRET_TWO=2",
               "--env", "JUPYTER_ENV_VARS_TO_UNSET=SECRET_ONE, SECRET_TWO"]  # fmt: skip
    container: Container = start(options=options)
    container.wait_for_server()
    process = container.server_process
    assert "Umask:\t0002" in container.execute("cat", f"/proc/{process}/status")
    assert "SECRET" not in container.execute("cat", f"/proc/{process}/environ")
