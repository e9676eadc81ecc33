// The SentencePiece library behind plain types: its headers clash with abseil's, so that they appear in the .cc only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cascade {

// A loaded model: its normalizer and its segmentation. Immutable; any thread may call.
class SentencePieceLibrary {
 public:
  // A ModelProto that was checked (SentencePieceModel): the library itself believes what it reads. Null for one that it
  // refuses all the same, and why in `error`.
  static std::unique_ptr<SentencePieceLibrary> Load(const std::string& serialized, std::string* error);
  ~SentencePieceLibrary();

  // `text` (UTF-8) as the model wants it, spaces as U+2581; with `add_space` one before it. Nothing from nothing. False
  // if memory does not suffice.
  bool Normalize(std::string_view text, bool add_space, std::string* normalized) const;

  // Appends the ids of a normalized text, control ids never. Time is linear in the text, times log n of the longest
  // word with BPE. False if memory does not suffice.
  bool Encode(std::string_view normalized, std::vector<int32_t>* ids) const;

 private:
  struct Impl;
  explicit SentencePieceLibrary(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace cascade
