// Which variables a scope hides.
#pragma once

#include "engine/text/jinja/syntax.h"

namespace cascade::jinja {

// jinja2 decides at compile time where a name lives. One that a scope assigns, and that neither it has read before nor
// a scope around it knows, belongs to that scope from its beginning: until the assignment it is undefined there and in
// the loops and macros inside, even when the caller gave a variable of the name. An assignment in an {% if %} does not
// do that. Fills in the lists `hidden`.
void HideNames(Syntax* syntax);

}  // namespace cascade::jinja
