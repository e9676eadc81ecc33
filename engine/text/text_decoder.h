// Token ids of one reply to printable text: whole UTF-8 only, and no part of a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace cascade {

// One reply's decoder; one thread. Time is linear in the bytes of the reply (times the number of stop strings).
class TextDecoder {
 public:
  // `tokenizer` must outlive it. Stop strings are non-empty.
  TextDecoder(const Tokenizer& tokenizer, std::vector<std::string> stop);

  // Adds a token. Returns what can be printed now; may be empty. After a match (stopped()) returns what precedes it,
  // and nothing any more.
  std::string Append(int32_t id);
  // The reply is over: what was held back. Incomplete UTF-8 becomes U+FFFD.
  std::string Finish();

  bool stopped() const { return stopped_; }
  // The stop string that matched; the earliest in the text, then the first of the list.
  const std::string& matched_stop() const { return matched_; }

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::string> stop_;
  std::string pending_;  // bytes not yet printed
  std::string matched_;
  bool stopped_ = false;
};

}  // namespace cascade
