// jinja2's filters, in three tables.
#pragma once

#include <span>

#include "engine/text/jinja/builtin.h"

namespace cascade::jinja {

std::span<const Builtin> TextFilters();
std::span<const Builtin> NumberFilters();
std::span<const Builtin> SequenceFilters();

}  // namespace cascade::jinja
