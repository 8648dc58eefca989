/* SPDX-License-Identifier: MIT */
/* core/counters.c - names of drop reasons and counters, expanded from the .def files */
#include "stackd/core/stack.h"

const char *const drop_text[DROP_MAX] = {
#define DROP(id, text) [DROP_##id] = text,
#include "stackd/core/drop_reasons.def"
#undef DROP
};

const char *const drop_name[DROP_MAX] = {
#define DROP(id, text) [DROP_##id] = #id,
#include "stackd/core/drop_reasons.def"
#undef DROP
};

const char *const snmp_group[SNMP_MAX] = {
#define SNMP(group, name) [SNMP_##group##_##name] = #group,
#include "stackd/core/snmp.def"
#undef SNMP
};

const char *const snmp_name[SNMP_MAX] = {
#define SNMP(group, name) [SNMP_##group##_##name] = #name,
#include "stackd/core/snmp.def"
#undef SNMP
};
