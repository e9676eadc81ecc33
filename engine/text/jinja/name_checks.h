// What can be refused before a template runs.
#pragma once

#include "absl/status/status.h"
#include "engine/text/jinja/syntax.h"

namespace cascade::jinja {

// UNIMPLEMENTED for functions, methods and special variables that we do not have, and for filters and tests that are
// named as arguments of `map`, `select` and the like. Also sees which macros take a `caller`.
absl::Status CheckNames(Syntax* syntax);

}  // namespace cascade::jinja
