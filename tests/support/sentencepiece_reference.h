// SentencePiece's own trainer and processor behind plain types, as the reference that our tokenizer is compared with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cascade {

// The bytes of a tokenizer.model trained on `sentences`; `flags` as spm_train takes them ("--model_type=bpe ..").
// "" and the reason on stderr if that fails.
std::string TrainSentencePiece(const std::string& flags, const std::vector<std::string>& sentences);

class ReferenceSentencePiece {
 public:
  // Null if the library refuses the model.
  static std::unique_ptr<ReferenceSentencePiece> Load(std::string_view model);
  ~ReferenceSentencePiece();

  std::vector<int32_t> Encode(std::string_view text) const;
  std::string Decode(const std::vector<int32_t>& ids) const;
  int32_t size() const;

 private:
  struct Impl;
  explicit ReferenceSentencePiece(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace cascade
