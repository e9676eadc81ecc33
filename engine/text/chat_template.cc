#include "engine/text/chat_template.h"

#include "engine/text/builtin_templates.h"
#include "engine/text/jinja_chat_template.h"

namespace cascade {

absl::StatusOr<std::unique_ptr<ChatTemplate>> CreateChatTemplate(std::string_view jinja_or_name,
                                                                 const Tokenizer& tokenizer, const Clock& clock) {
  const std::string_view builtin = BuiltinTemplate(jinja_or_name);
  return CreateJinjaChatTemplate(builtin.empty() ? jinja_or_name : builtin, tokenizer, clock);
}

absl::StatusOr<std::vector<int32_t>> EncodePieces(const Tokenizer& tokenizer, const std::vector<TemplatePiece>& pieces,
                                                  TextStart start) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < pieces.size();) {
    if (pieces[i].control >= 0) {
      ids.push_back(pieces[i++].control);
      start = TextStart::kAfterControl;
      continue;
    }
    size_t end = i + 1;
    while (end < pieces.size() && pieces[end].control < 0) ++end;
    std::string joined;
    if (end - i > 1) {
      for (size_t part = i; part < end; ++part) joined += pieces[part].text;
    }
    const std::string& run = end - i > 1 ? joined : pieces[i].text;
    i = end;
    if (run.empty()) continue;
    const absl::StatusOr<std::vector<int32_t>> encoded = tokenizer.EncodeAt(start, run, /*parse_special=*/false);
    if (!encoded.ok()) return encoded.status();
    ids.insert(ids.end(), encoded->begin(), encoded->end());
    start = TextStart::kInside;
  }
  return ids;
}

std::string JoinPieces(const std::vector<TemplatePiece>& pieces) {
  std::string text;
  for (const TemplatePiece& piece : pieces) text += piece.text;
  return text;
}

}  // namespace cascade
