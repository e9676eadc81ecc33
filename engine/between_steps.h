#pragma once

#include <functional>

namespace cascade {

// Runs a piece of work on the engine thread, between two steps, and waits for its end; false when that thread has
// ended.
using BetweenSteps = std::function<bool(std::function<void()>)>;

}  // namespace cascade
