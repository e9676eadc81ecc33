// No abseil here: see engine/text/sentencepiece_library.cc.
#include "tests/support/sentencepiece_reference.h"

#include <iostream>

#include "sentencepiece_processor.h"
#include "sentencepiece_trainer.h"

namespace cascade {

std::string TrainSentencePiece(const std::string& flags, const std::vector<std::string>& sentences) {
  std::string model;
  const sentencepiece::util::Status status =
      sentencepiece::SentencePieceTrainer::Train(flags + " --num_threads=1 --minloglevel=2", sentences, &model);
  if (!status.ok()) {
    std::cerr << status.ToString() << std::endl;
    model.clear();
  }
  return model;
}

struct ReferenceSentencePiece::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

ReferenceSentencePiece::ReferenceSentencePiece(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReferenceSentencePiece::~ReferenceSentencePiece() = default;

std::unique_ptr<ReferenceSentencePiece> ReferenceSentencePiece::Load(std::string_view model) {
  auto impl = std::make_unique<Impl>();
  if (!impl->processor.LoadFromSerializedProto(model).ok()) return nullptr;
  return std::unique_ptr<ReferenceSentencePiece>(new ReferenceSentencePiece(std::move(impl)));
}

std::vector<int32_t> ReferenceSentencePiece::Encode(std::string_view text) const {
  std::vector<int> ids;
  if (!impl_->processor.Encode(text, &ids).ok()) return {-1};
  return {ids.begin(), ids.end()};
}

std::string ReferenceSentencePiece::Decode(const std::vector<int32_t>& ids) const {
  std::string text;
  if (!impl_->processor.Decode(std::vector<int>(ids.begin(), ids.end()), &text).ok()) return "\xFF";
  return text;
}

int32_t ReferenceSentencePiece::size() const { return impl_->processor.GetPieceSize(); }

}  // namespace cascade
