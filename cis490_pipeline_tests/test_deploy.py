"""What the files for a cluster name exists, and they agree with one another."""

import importlib
import itertools
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from distributed.cli import dask_scheduler, dask_worker

from cis490_pipeline import __version__
from cis490_pipeline.cli.models.train import train
from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Architecture, Recipe
from cis490_pipeline.domain.catalogue import MODELS
from cis490_pipeline.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.37"
"""Version whose schemas the manifests are held against."""


@pytest.fixture(scope="module")
def values():
    return yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())


@pytest.fixture(scope="module")
def dask():
    """The objects of the Dask cluster, by kind and name."""
    found = list(yaml.safe_load_all((DEPLOY / "dask.yaml").read_text()))
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in found}


@pytest.fixture(scope="module")
def dockerfile():
    return (DEPLOY / "Dockerfile").read_text()


def code(values):
    (only,) = values["dagster-user-deployments"]["deployments"]
    return only


def containers(dask):
    for (kind, name), thing in dask.items():
        if kind == "Deployment":
            (container,) = thing["spec"]["template"]["spec"]["containers"]
            yield name, thing["spec"]["template"]["spec"], container


def test_the_chart_loads_definitions_that_exist(values):
    flag, module = code(values)["dagsterApiGrpcArgs"]

    assert flag == "--module-name"
    assert importlib.import_module(module).defs is not None


def test_what_is_set_are_settings_and_the_dask_address_is_taken(values, monkeypatch):
    given = {entry["name"]: entry["value"] for entry in code(values)["env"]}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = Settings.load()

    assert {name.removeprefix("CIS490_").lower() for name in given} <= {
        field.name for field in fields(Settings)
    }
    assert settings.dask_address == given["CIS490_DASK_ADDRESS"]
    assert str(settings.data) == given["CIS490_DATA"]


def test_dagster_accepts_what_the_chart_makes_of_the_values(values, tmp_path, monkeypatch):
    """As its template does: keys in snake case, the rest appended as it stands."""
    daemon, snake = values["dagsterDaemon"], lambda name: re.sub(r"([A-Z])", r"_\1", name).lower()
    sensor = values["retention"]["sensor"]["purgeAfterDays"]
    postgres = values["postgresql"]
    config = {
        "storage": {
            "postgres": {
                "postgres_db": {
                    "hostname": postgres["postgresqlHost"],
                    "port": postgres["service"]["port"],
                    "username": postgres["postgresqlUsername"],
                    "password": "hunter2",
                    "db_name": postgres["postgresqlDatabase"],
                    "params": postgres["postgresqlParams"],
                    "scheme": postgres["postgresqlScheme"],
                }
            }
        },
        "run_monitoring": {snake(k): v for k, v in daemon["runMonitoring"].items()},
        "run_retries": {snake(k): v for k, v in daemon["runRetries"].items()},
        "telemetry": values["telemetry"],
        "retention": {
            "schedule": {"purge_after_days": values["retention"]["schedule"]["purgeAfterDays"]},
            "sensor": {"purge_after_days": sensor},
        },
        **values["additionalInstanceConfig"],
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))

    settings, _ = dagster_instance_config(str(tmp_path))

    lab = yaml.safe_load((ROOT / "dagster.lab.yaml").read_text())
    assert settings["concurrency"] == lab["concurrency"]
    assert settings["run_monitoring"] == lab["run_monitoring"]
    assert settings["run_retries"] == lab["run_retries"]
    assert daemon["runCoordinator"] == {"enabled": False}
    assert postgres["postgresqlScheme"] == lab["storage"]["postgres"]["postgres_db"]["scheme"]


def test_everything_runs_the_one_image_of_this_version(values, dask):
    images = [values["dagsterWebserver"]["image"], values["dagsterDaemon"]["image"]]
    images.append(code(values)["image"])
    names = {f"{image['repository']}:{image['tag']}" for image in images}
    names |= {container["image"] for _, _, container in containers(dask)}

    (name,) = names
    assert name.endswith(f":{__version__}")
    assert name in (DEPLOY / "Dockerfile").read_text()


def test_nothing_runs_as_root(values, dask, dockerfile):
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    contexts = [values["dagsterWebserver"]["securityContext"], code(values)["securityContext"]]
    contexts.append(values["dagsterDaemon"]["securityContext"])
    contexts += [pod["securityContext"] for _, pod, _ in containers(dask)]

    assert int(user) > 0
    assert f"--uid {user} " in dockerfile
    assert {(c["runAsUser"], c["runAsNonRoot"]) for c in contexts} == {(int(user), True)}


def test_dask_takes_the_arguments_and_speaks_tls_alone(values, dask, tmp_path):
    commands = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    address = next(e["value"] for e in code(values)["env"] if e["name"] == "CIS490_DASK_ADDRESS")
    host, port = re.fullmatch(r"tls://([\w-]+):(\d+)", address).groups()
    assert dask["Service", host]["spec"]["ports"][0]["port"] == int(port)
    seen = set()
    for _, _, container in containers(dask):
        (tmp_path / "tls").mkdir(exist_ok=True)
        for file in ("ca.crt", "tls.crt", "tls.key"):
            (tmp_path / "tls" / file).touch()
        # Dask wants the files to be there when it reads its arguments.
        program, name, *arguments = [
            argument.replace("=/tls/", f"={tmp_path}/tls/") for argument in container["args"]
        ]
        command = commands[name]
        context = command.make_context(name, arguments)
        seen.add(name)
        assert program == "dask"
        assert context.params["protocol"] == "tls"
        assert all(context.params[part] for part in ("tls_ca_file", "tls_cert", "tls_key"))
        assert context.params["dashboard"] is False
        if name == "worker":
            assert context.params["scheduler"] == address
    assert seen == {"scheduler", "worker"}


def test_volumes_that_are_mounted_exist(values, dask):
    pods = [(code(values)["volumes"], code(values)["volumeMounts"])]
    pods += [(pod["volumes"], container["volumeMounts"]) for _, pod, container in containers(dask)]

    for volumes, mounts in pods:
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in volumes}


def test_the_image_is_built_of_what_is_here(dockerfile):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', dockerfile)
    copied = re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE)

    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert {"orchestrate", "train", "dask", "lab", "kubernetes"} <= set(extras.split(","))
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    assert "--constraint constraints.txt" in dockerfile


@pytest.fixture(scope="module")
def training():
    """The settings and the job of ``train-gpu.yaml``."""
    return list(yaml.safe_load_all((DEPLOY / "train-gpu.yaml").read_text()))


def manifests():
    for file in sorted(DEPLOY.glob("*.yaml")):
        if file.name != "helm-values.yaml":
            for thing in yaml.safe_load_all(file.read_text()):
                yield pytest.param(thing, id=f"{file.name}-{thing['metadata']['name']}")


@pytest.mark.parametrize("manifest", list(manifests()))
def test_kubernetes_accepts_each_manifest_and_knows_each_of_its_keys(manifest):
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)

    broken = {**manifest, "spce": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="spce"):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_kubernetes_accepts_what_the_chart_puts_into_pods(values):
    ours = code(values)
    container = {"name": "run", "image": "image", "resources": ours["resources"]}
    container |= {key: ours[key] for key in ("env", "volumeMounts", "securityContext")}
    container["envFrom"] = [{"secretRef": secret} for secret in ours["envSecrets"]]
    spec = {"containers": [container], "volumes": ours["volumes"]}
    spec["securityContext"] = ours["podSecurityContext"]
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    run = {
        "backoffLimit": 0,
        **launcher["runK8sConfig"]["jobSpecConfig"],
        "template": {
            "spec": {**spec, "restartPolicy": "Never", **launcher["runK8sConfig"]["podSpecConfig"]}
        },
    }
    run["template"]["spec"]["containers"] = [{**container, "resources": launcher["resources"]}]
    for kind, version, content in (("Pod", "v1", spec), ("Job", "batch/v1", run)):
        manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": content}
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_each_network_is_trained_by_one_pod_with_one_gpu(training, tmp_path):
    job = training[1]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    program = tmp_path / "cis490"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    trained = []
    for index in range(job["completions"]):
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        environment |= {"JOB_COMPLETION_INDEX": str(index), "PATH": f"{tmp_path}:/usr/bin:/bin"}
        asked = subprocess.run(
            container["command"], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        command, *words = asked
        assert command == train.name
        params = train.make_context(command, words).params
        assert Recipe(params["recipe"]) is Recipe.HOST
        trained += itertools.product(params["architectures"], params["variants"])

    networks = [model for model in MODELS if model[0] is not Architecture.GBT]
    assert trained == [(str(architecture), str(variant)) for architecture, variant in networks]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"] in (DEPLOY / "Dockerfile").read_text()
    assert job["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_training_on_gpus_and_dagster_work_with_the_same_settings(
    training, values, tmp_path, monkeypatch
):
    """Or Dagster would take what was trained on GPUs for outdated."""
    settings, job = training
    without = yaml.safe_load((DEPLOY / "settings.yaml").read_text())
    assert without["metadata"] == settings["metadata"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cis490.toml").write_text(without["data"]["cis490.toml"])
    assert Settings.load().models == {}
    (tmp_path / "cis490.toml").write_text(settings["data"]["cis490.toml"])
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    models = Settings.load().models

    assert set(models) == {str(a) for a in Architecture if a is not Architecture.GBT}
    assert {TrainConfig(**model).device for model in models.values()} == {"cuda"}
    workdir = re.findall(r"^WORKDIR (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for volumes, mounts in (
        (pod["volumes"], container["volumeMounts"]),
        (code(values)["volumes"], code(values)["volumeMounts"]),
    ):
        (mount,) = [mount for mount in mounts if mount["name"] == "settings"]
        (volume,) = [volume for volume in volumes if volume["name"] == "settings"]
        assert volume["configMap"]["name"] == settings["metadata"]["name"]
        assert mount["mountPath"] == f"{workdir[-1]}/{mount['subPath']}"
        assert mount["subPath"] in settings["data"]
    given = {e["name"]: e["value"] for e in code(values)["env"]}
    for entry in container["env"]:
        assert given.get(entry["name"], "host") == entry["value"]
