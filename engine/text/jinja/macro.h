#pragma once

#include <memory>

#include "engine/text/jinja/frame.h"
#include "engine/text/jinja/jinja_value.h"

namespace cascade::jinja {

struct Statement;

// A macro, or the body of a call block, with the frame that it was written in. The interpreter keeps that frame until
// the end and then empties it, because the frame holds the macro too.
struct Macro {
  const Statement* statement = nullptr;
  std::shared_ptr<Frame> frame;
  Charge charge;
};

}  // namespace cascade::jinja
