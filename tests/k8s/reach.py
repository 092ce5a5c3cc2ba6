"""Which connections do network policies allow? By the rules of networking.k8s.io/v1, for pods and hosts."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network


@dataclass(frozen=True, eq=False)
class Pod:
    """One end of a connection inside the cluster."""

    namespace: str
    labels: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Host:
    """One end outside the cluster."""

    address: str


def allowed(policies, source, target, port, protocol="TCP"):
    """Say whether `source` may open a connection to `target`: its egress and the other's ingress must both allow it."""
    out = _side(policies, source, target, port, protocol, "Egress", "egress", "to")
    into = _side(policies, target, source, port, protocol, "Ingress", "ingress", "from")
    return out and into


def _side(policies, here, there, port, protocol, kind, rules, peers):
    if isinstance(here, Host):
        return True
    mine = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == here.namespace
        and kind in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], here.labels)
    ]
    if not mine:
        return True
    return any(
        _port(rule, port, protocol) and any(_peer(peer, there, here.namespace) for peer in rule.get(peers, []))
        for spec in mine
        for rule in spec.get(rules, [])
    )


def _port(rule, port, protocol):
    return any(entry["port"] == port and entry["protocol"] == protocol for entry in rule["ports"])


def _peer(peer, there, own_namespace):
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if not isinstance(there, Host):
            return False
        address = ip_address(there.address)
        outside = any(address in ip_network(network) for network in block.get("except", []))
        return address in ip_network(block["cidr"]) and not outside
    if isinstance(there, Host):
        return False
    if "namespaceSelector" in peer:
        in_namespace = _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": there.namespace})
    else:
        in_namespace = there.namespace == own_namespace
    return in_namespace and _selects(peer.get("podSelector", {}), there.labels)


def _selects(selector, labels):
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] != "Exists":
            raise ValueError(f"this reader does not know the operator {rule['operator']}")
        exact = exact and rule["key"] in labels
    return exact
