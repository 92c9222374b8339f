"""Functions, and calls of them that are resources."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.emulated.handlers.handler import (
    ACCOUNT,
    REGION,
    Aws,
    Handler,
    Inputs,
    Properties,
    Refused,
    fixed,
    found,
    paths,
    put,
    register,
)
from tests.emulated.handlers.iam import trusts

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_MOST_CODE = 50 * 1024 * 1024


def archive(code: Any) -> bytes:
    """The archive of the protocol as a zip.

    Raises:
        Refused: it is none.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for path, text in sorted(_files(code).items()):
            package.writestr(zipfile.ZipInfo(path, _LONG_AGO), text)
    return out.getvalue()


def _files(code: Any) -> dict[str, bytes]:
    if isinstance(code, Mapping) and "assets" in code:
        return {path: _content(asset) for path, asset in code["assets"].items()}
    if isinstance(code, Mapping) and "path" in code:
        return _unpacked(Path(str(code["path"])))
    raise Refused("InvalidParameterValueException", "the code of a function is an archive")


def _unpacked(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        found_ones = sorted(each for each in path.rglob("*") if each.is_file())
        return {str(each.relative_to(path)): each.read_bytes() for each in found_ones}
    with zipfile.ZipFile(path) as package:
        return {name: package.read(name) for name in package.namelist()}


def _content(asset: Mapping[str, Any]) -> bytes:
    return str(asset["text"]).encode() if "text" in asset else Path(str(asset["path"])).read_bytes()


@register("aws:lambda/function:Function")
class Function(Handler):
    """Code that AWS runs when it is called."""

    replace = paths("name packageType")
    computed = paths(
        "arn invokeArn qualifiedArn version lastModified sourceCodeSize codeSha256 vpcConfig.vpcId"
        " loggingConfig"
    )
    decided = paths("packageType architectures ephemeralStorage tracingConfig sourceCodeHash")
    unread = paths("code skipDestroy publish sourceCodeHash replaceSecurityGroupsOnDestroy")
    unordered = paths("vpcConfig.subnetIds vpcConfig.securityGroupIds architectures")
    free = paths("tags environment.variables code")
    defaults = fixed({"memorySize": 128, "timeout": 3, "reservedConcurrentExecutions": -1})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if not 1 <= len(inputs.get("name", "")) <= 64:
            yield f"ValidationException: `{inputs.get('name')}` is no name of a function: at most 64"
        if not 1 <= int(inputs.get("timeout", 3)) <= 900:
            yield "ValidationException: timeout is from 1 to 900"
        if not 128 <= int(inputs.get("memorySize", 128)) <= 10240:
            yield "ValidationException: memorySize is from 128 to 10240"
        if len(inputs.get("description", "")) > 256:
            yield "ValidationException: description has at most 256 characters"
        variables = inputs.get("environment", {}).get("variables", {})
        if sum(len(name) + len(str(text)) for name, text in variables.items()) > 4096:
            yield "InvalidParameterValueException: the environment has at most 4096 bytes"
        if any(name.startswith(("AWS_LAMBDA_", "AWS_REGION")) for name in variables):
            yield "InvalidParameterValueException: the environment sets a reserved name"
        if bool(inputs.get("code")) and not inputs.get("handler"):
            yield "InvalidParameterValueException: a zip needs a handler"

    def _settings(self, inputs: Inputs) -> Properties:
        at = inputs.get("vpcConfig", {})
        where = put({}, SubnetIds=at.get("subnetIds"), SecurityGroupIds=at.get("securityGroupIds"))
        return put(
            {
                "FunctionName": inputs["name"],
                "Role": inputs["role"],
                "Timeout": int(inputs.get("timeout", 3)),
                "MemorySize": int(inputs.get("memorySize", 128)),
            },
            Runtime=inputs.get("runtime"),
            Handler=inputs.get("handler"),
            Description=inputs.get("description"),
            Environment=put({}, Variables=inputs.get("environment", {}).get("variables")),
            VpcConfig=where,
            KMSKeyArn=inputs.get("kmsKeyArn"),
        )

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if not trusts(aws, inputs["role"], "lambda.amazonaws.com"):
            raise Refused(
                "InvalidParameterValueException",
                "The role defined for the function cannot be assumed by Lambda.",
            )
        if at := inputs.get("vpcConfig"):
            aws("ec2").describe_subnets(SubnetIds=list(at["subnetIds"]))
            aws("ec2").describe_security_groups(GroupIds=list(at["securityGroupIds"]))
        code = archive(inputs["code"])
        if len(code) > _MOST_CODE:
            raise Refused("RequestEntityTooLargeException", "the package is larger than 50 MiB")
        about = put({}, Tags=inputs.get("tags"), Architectures=inputs.get("architectures"))
        aws("lambda").create_function(Code={"ZipFile": code}, **self._settings(inputs), **about)
        # Nothing was reserved before, so there is nothing to give back.
        if int(inputs.get("reservedConcurrentExecutions", -1)) >= 0:
            self._reserve(aws, inputs)
        return str(inputs["name"])

    def _reserve(self, aws: Aws, inputs: Inputs) -> None:
        reserved = int(inputs.get("reservedConcurrentExecutions", -1))
        if reserved >= 0:
            aws("lambda").put_function_concurrency(
                FunctionName=inputs["name"], ReservedConcurrentExecutions=reserved
            )
        else:
            aws("lambda").delete_function_concurrency(FunctionName=inputs["name"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        answer = found(lambda: aws("lambda").get_function(FunctionName=identity))
        if answer is None:
            return None
        row = answer["Configuration"]
        at = row.get("VpcConfig", {})
        where = put({}, subnetIds=at.get("SubnetIds"), securityGroupIds=at.get("SecurityGroupIds"))
        if where:
            where["vpcId"] = at.get("VpcId", "")
        reserved = answer.get("Concurrency", {}).get("ReservedConcurrentExecutions", -1)
        variables = row.get("Environment", {}).get("Variables")
        return put(
            {
                "arn": row["FunctionArn"],
                "name": row["FunctionName"],
                "role": row["Role"],
                "runtime": row.get("Runtime", ""),
                "handler": row.get("Handler", ""),
                "timeout": row["Timeout"],
                "memorySize": row["MemorySize"],
                "codeSha256": row["CodeSha256"],
                "version": row["Version"],
                "reservedConcurrentExecutions": reserved,
                "packageType": row.get("PackageType", "Zip"),
            },
            description=row.get("Description"),
            environment={"variables": variables} if variables else None,
            vpcConfig=where,
            kmsKeyArn=row.get("KMSKeyArn"),
            architectures=row.get("Architectures"),
            tags=answer.get("Tags"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        client = aws("lambda")
        first = {path.partition(".")[0] for path in changed}
        if "code" in first:
            client.update_function_code(FunctionName=identity, ZipFile=archive(inputs["code"]))
        if first - {"code", "tags", "reservedConcurrentExecutions"}:
            client.update_function_configuration(**self._settings(inputs))
        if "reservedConcurrentExecutions" in first:
            self._reserve(aws, inputs)
        if "tags" in first:
            arn = aws.arn("lambda", f"function:{identity}")
            before, wanted = client.list_tags(Resource=arn)["Tags"], inputs.get("tags") or {}
            client.untag_resource(Resource=arn, TagKeys=sorted(before.keys() - wanted.keys()))
            client.tag_resource(Resource=arn, Tags=dict(wanted))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if not state.get("skipDestroy"):
            found(lambda: aws("lambda").delete_function(FunctionName=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{inputs.get('name')}"
        return {"arn": arn, "version": "$LATEST", "codeSha256": "sha-of-nothing"}


@register("aws:lambda/invocation:Invocation")
class Invocation(Handler):
    """One call of a function for each change of a resource (lifecycleScope CRUD).

    As the provider does it: a changed input is a call with op ``update`` and the input before; an end is a
    call with op ``delete``; reading calls nothing and finds whatever the state says.
    """

    replace = paths("functionName qualifier triggers tenantId")
    computed = paths("result")
    free = paths("triggers")
    documents = paths("input")
    defaults = fixed({"lifecycleScope": "CREATE_ONLY", "terraformKey": "tf", "qualifier": "$LATEST"})
    unread = paths("functionName input lifecycleScope terraformKey qualifier triggers result tenantId")

    def key(self, inputs: Inputs) -> str:
        return str(inputs["functionName"])

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        try:
            asked = json.loads(inputs["input"])
        except ValueError:
            yield "the input of an invocation is JSON"
            return
        scope = inputs.get("lifecycleScope", "CREATE_ONLY")
        if scope not in {"CREATE_ONLY", "CRUD"}:
            yield f"lifecycleScope {scope} is neither CREATE_ONLY nor CRUD"
        if scope == "CRUD" and not isinstance(asked, dict):
            yield "the input of an invocation with lifecycleScope CRUD is a JSON object"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        self._call(aws, inputs, "create", None)
        digest = hashlib.md5(inputs["input"].encode(), usedforsecurity=False).hexdigest()
        return f"{inputs['functionName']}_{inputs.get('qualifier', '$LATEST')}_{digest}"

    def _call(self, aws: Aws, inputs: Inputs, action: str, before: str | None) -> None:
        name = inputs["functionName"]
        aws("lambda").get_function(FunctionName=name)
        payload = json.loads(inputs["input"])
        if inputs.get("lifecycleScope") == "CRUD":
            previous = None if before is None else json.loads(before)
            payload[inputs.get("terraformKey", "tf")] = {"action": action, "prev_input": previous}
        if aws.invoke is None:
            return
        try:
            aws.invoke(name, payload)
        except Exception as error:
            # What a function raises comes to the caller as an answer with FunctionError.
            raise Refused("FunctionError", f"Lambda function {name} returned error: {error}") from error

    def read(self, aws: Aws, identity: str) -> Properties | None:
        return {}

    def change(self, aws: Aws, identity: str, before: Inputs, inputs: Inputs, changed: set[str]) -> None:
        """Call the function for an update, with what was asked before."""
        if inputs.get("lifecycleScope") == "CRUD":
            self._call(aws, inputs, "update", before.get("input"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if state.get("lifecycleScope") == "CRUD":
            self._call(aws, state, "delete", state.get("input"))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return {"result": "{}"}
