"""The policies of the store, read again for the file they stand beside."""

import logging
from collections.abc import Sequence

from ailink.config.policy_text import PolicyFault, read_policy
from ailink.config.schema import Config
from ailink.snapshot.policies import Versioned
from ailink.store.policies import PolicyRecord

log = logging.getLogger(__name__)


def policies_in_force(
    records: Sequence[PolicyRecord], config: Config, *, leave_out: bool
) -> tuple[Versioned, ...]:
    """One that does not fit the file any more is left out and told with `leave_out`; otherwise this raises
    PolicyFault.
    """
    found = []
    for record in records:
        try:
            rule = read_policy(record.name, record.body or {}, config)
        except PolicyFault as fault:
            if not leave_out:
                raise PolicyFault(fault.path, f"policy {record.name}: {fault.path}: {fault}") from fault
            log.error("policy %s is not in force: %s: %s", record.name, fault.path, fault)
            continue
        found.append(Versioned(rule=rule, version=record.version, trusted=False))
    return tuple(found)
