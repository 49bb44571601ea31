"""deployer.yaml: the deployer may do what the resources of template.yaml need, to them alone.

AWS names the actions that CloudFormation calls in the schema of each type of resource, as the caller, for everything
that the type can do. What this template does not use is left out below.
https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from tests.repo.stack import ALTERNATIVE, DEFAULT, PSEUDO, ROOT, as_list

DEPLOYER = yaml_parse((ROOT / "deployer.yaml").read_text("utf-8"))

# Of actions that the schemas name.
NOT_USED = re.compile(
    r"ec2:.*|elasticfilesystem:.*|s3files:.*|lambda:GetLayerVersion"  # VPC, file systems, layers
    r"|lambda:(Associate|Pass)\w+|lambda:.*(CodeSigningConfig|RecursionConfig|RuntimeManagementConfig|ScalingConfig)"
    r"|lambda:(Put|Delete)ProvisionedConcurrencyConfig"
    r"|dynamodb:(\w*Replica|BatchWriteItem|DeleteItem|GetItem|PutItem|UpdateItem|Query|Scan|ImportTable|DescribeImport)"
    r"|dynamodb:(Disable|Enable|Update)\w*Kinesis\w+|dynamodb:Update(ContinuousBackups|ContributorInsights)"
    r"|dynamodb:(Put|Delete)ResourcePolicy|kinesis:.*|iam:CreateServiceLinkedRole|kms:ListAliases"
    r"|logs:CreateLogStream|logs:DescribeLogStreams|logs:PutLogEvents|s3:(GetObjectMetadata|REST\.PUT\.OBJECT)"
    r"|firehose:.*|logs:(Put|Delete)(DataProtectionPolicy|IndexPolicy)|logs:(Associate|Disassociate)KmsKey"
    r"|logs:(PutBearerTokenAuthentication|PutLogGroupDeletionProtection|DeleteResourcePolicy)"
    r"|iam:(Attach|Detach)RolePolicy|iam:(Put|Delete)RolePermissionsBoundary|iam:\w+(Group|User)Policy"
    r"|sns:PutDataProtectionPolicy|codedeploy:RegisterOnPremisesInstance"
    r"|apigateway:(Tag|Untag)Resource"  # no actions of IAM, where tags are a PUT at /tags
)
# Reads that CloudFormation makes although the template does not use the feature.
READS_OF_FUNCTIONS = {
    "lambda:GetFunctionCodeSigningConfig",
    "lambda:GetFunctionRecursionConfig",
    "lambda:GetFunctionScalingConfig",
    "lambda:GetRuntimeManagementConfig",
}

# What the SAM CLI and `versions prune` call besides: the stack, the bucket of artifacts, and versions.
OF_THE_COMMANDS = re.compile(
    r"cloudformation:.*|s3:.*|lambda:(ListAliases|ListVersionsByFunction|CreateAlias|UpdateAlias)"
)

# What API Gateway does for the caller when a stage has an access log, and a first API in an account:
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
OF_API_GATEWAY = {
    "iam:CreateServiceLinkedRole",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
}
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
OF_KEYS = {"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:RevokeGrant"}


def statements() -> Iterator[Any]:
    for policy in DEPLOYER["Resources"].values():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def allowed() -> set[str]:
    return {action for statement in statements() for action in as_list(statement["Action"])}


@cache
def needed() -> set[str]:
    """Return the actions of all types of resources in both extreme deployments."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER  # takes a second, which only these tests need

    types = {resource["Type"] for stack in (DEFAULT, ALTERNATIVE) for resource in stack.resources.values()}
    named = {
        action[:1].lower() + action[1:]
        for kind in types
        for name, handler in PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-1", kind).schema["handlers"].items()
        if name != "list"  # CloudFormation's own listings are no part of a deployment
        for action in handler["permissions"]
    }
    # The schemas also write s3:getObject.
    written = {re.sub(r":(\w)", lambda letter: letter[0].upper(), action) for action in named}
    return {action for action in written if not NOT_USED.fullmatch(action)} | READS_OF_FUNCTIONS


def test_deployer_may_do_what_every_resource_needs() -> None:
    assert needed() - allowed() == set()


def test_deployer_may_do_nothing_that_no_resource_needs() -> None:
    others = {action for action in allowed() - needed() if not OF_THE_COMMANDS.fullmatch(action)}

    assert others == {*OF_API_GATEWAY - needed(), *OF_KEYS - needed()}


def test_no_action_is_a_pattern() -> None:
    assert [action for action in allowed() if "*" in action] == []


# Statements whose resources IAM cannot limit to a stack. deployer.yaml says what limits them, or why nothing can.
NOT_LIMITED = {
    "UploadTheArtifact",
    "LetApiGatewayHaveItsRole",
    "ManageTheWorkersEventSource",
    "ReadAndTagEventSources",
    "ManageTheApi",
    "SaveQueriesAndDeliverTheAccessLog",
    "ReadTheBill",
    "EncryptWithTheKeys",
}


def patterns(stack: str) -> set[str]:
    """Return the resources that the policies for a stack name, apart from those that IAM cannot limit."""
    known = {**PSEUDO, "StackName": stack}
    return {
        re.sub(r"\$\{([\w:]+)\}", lambda name: known[name[1]], resource["Fn::Sub"])
        for statement in statements()
        if statement["Sid"] not in NOT_LIMITED
        for resource in as_list(statement["Resource"])
    }


REGION = "eu-west-1:123456789012"
# What CloudFormation makes the name of a resource's ARN from: the stack's name, the logical one and a random part.
ARNS = {
    "AWS::Budgets::Budget": "arn:aws:budgets::123456789012:budget/{name}",
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{REGION}:alarm:{{name}}",
    "AWS::CodeDeploy::Application": f"arn:aws:codedeploy:{REGION}:application:{{name}}",
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:table/{{name}}",
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{name}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:function:{{name}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:log-group:{{name}}",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{{name}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{{name}}",
}
GIVEN_NAMES = {"ApiLogGroup": "/aws/vendedlogs/{stack}/api"}
WITHOUT_NAME = {"AlarmName", "BudgetName", "FunctionName", "QueueName", "RoleName", "TableName", "TopicName"}


def arns(stack: str) -> list[str]:
    """Return the ARNs of the resources of the largest deployment."""
    found = [
        f"arn:aws:cloudwatch::123456789012:dashboard/{stack}-eu-west-1",
        f"arn:aws:cloudformation:{REGION}:stack/{stack}/1f2e",
        f"arn:aws:codedeploy:{REGION}:deploymentgroup:{stack}-ServerlessDeploymentApplication-AbC/group",
    ]
    for logical_id, resource in ALTERNATIVE.resources.items():
        if resource["Type"] in ARNS:
            assert not WITHOUT_NAME & set(resource.get("Properties", {})), (
                "with a name of its own it needs no random part"
            )
            name = GIVEN_NAMES.get(logical_id, f"{{stack}}-{logical_id}-AbC").format(stack=stack)
            found.append(ARNS[resource["Type"]].format(name=name))
    return found


def test_every_resource_of_the_stack_is_named_and_none_of_another_stage() -> None:
    """Also where the other stage's name begins with this one's, as prod's does."""
    own = patterns("shop")

    assert [arn for arn in arns("shop") if not any(fnmatchcase(arn, pattern) for pattern in own)] == []
    assert [arn for arn in arns("shop-prod") if any(fnmatchcase(arn, pattern) for pattern in own)] == []


def test_no_pattern_is_left_over() -> None:
    shared = ("stack/aws-sam-cli-managed-*", ":transform/Serverless-2016-10-31", ":CodeDeployDefault.*")

    left = {pattern for pattern in patterns("shop") if not any(fnmatchcase(arn, pattern) for arn in arns("shop"))}

    assert {pattern for pattern in left if not pattern.endswith(shared)} == set()


def test_the_dashboard_has_the_name_that_the_policy_names() -> None:
    (dashboard,) = ALTERNATIVE.of_type("AWS::CloudWatch::Dashboard").values()

    assert dashboard["DashboardName"] == f"{PSEUDO['AWS::StackName']}-eu-west-1"


def test_each_policy_fits_iams_limit() -> None:
    """White space does not count: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
    longest = {**PSEUDO, "AWS::Region": "ap-southeast-2", "StackName": "x" * 32}
    for name, policy in DEPLOYER["Resources"].items():
        document = json.dumps(policy["Properties"]["PolicyDocument"], separators=(",", ":"))
        for parameter, value in longest.items():
            document = document.replace(f"${{{parameter}}}", value)
        assert len(document) <= 6144, name
