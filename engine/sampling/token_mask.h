#pragma once

#include <cstdint>
#include <span>

namespace cascade {

// What a reply may go on with, token by token: the state of one turn's grammar. One thread at a time.
class TokenMask {
 public:
  virtual ~TokenMask() = default;
  // Sets the bits of the ids that may come next, and clears all others: bit i of bits[i / 64]. Bits of ids that end a
  // reply do not matter: those are allowed exactly when MayEnd().
  virtual void Allowed(std::span<uint64_t> bits) = 0;
  // The next id. False: it was not allowed, and the state is as before.
  virtual bool Accept(int32_t id) = 0;
  // The reply may end here.
  virtual bool MayEnd() = 0;
};

}  // namespace cascade
