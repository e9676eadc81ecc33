#pragma once

#include <string>

namespace cascade {

// For messages about a folder that is no model: what of interest lies in it and what to do with that, beginning with
// "; ", or "".
std::string WhatElse(const std::string& folder);

}  // namespace cascade
