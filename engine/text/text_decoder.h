// Token ids of one reply to printable text: whole UTF-8 only, and no part of a stop string.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"

namespace cascade {

// One reply's decoder; one thread. Time is linear in the bytes of the reply (times the number of stop strings). What it
// prints and where it stops depend on the bytes alone, not on how tokens cut them.
class TextDecoder {
 public:
  // `tokenizer` must outlive it. Stop strings are non-empty UTF-8 (one that is not can never match and is left out).
  TextDecoder(const Tokenizer& tokenizer, std::vector<std::string> stop);

  // Adds a token. Returns what can be printed now; may be empty. After a match (stopped()) returns what precedes it,
  // and nothing any more.
  std::string Append(int32_t id);
  // The reply is over: what was held back. Incomplete UTF-8 becomes U+FFFD.
  std::string Finish();

  bool stopped() const { return stopped_; }
  // The stop string that matched: the first to be complete in the text, of several that end together the longest.
  const std::string& matched_stop() const { return matched_; }

 private:
  // A stop string and how much of it the text ends with (Knuth, Morris, Pratt).
  struct StopString {
    std::string text;
    std::vector<size_t> border;  // [text.size()]: of text[0..i], the longest proper prefix that is a suffix, too
    size_t matched = 0;
  };

  std::string Print(std::string_view text);

  const Tokenizer& tokenizer_;
  std::vector<StopString> stop_;
  std::string tail_;     // up to 3 bytes that begin a character
  std::string pending_;  // whole characters not yet printed: the longest beginning of a stop string
  std::string matched_;
  bool stopped_ = false;
};

}  // namespace cascade
