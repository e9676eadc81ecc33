#include "engine/text/piece_cutter.h"

#include <string>
#include <string_view>

namespace cascade {

PieceCutter::PieceCutter(const Tokenizer& tokenizer) {
  for (int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (!tokenizer.IsControl(id)) continue;
    const std::string_view text = tokenizer.TokenText(id);
    if (!text.empty() && controls_.Find(text) < 0) controls_.Add(text, id);
  }
}

std::vector<TemplatePiece> PieceCutter::Cut(const jinja::Text& text, size_t begin) const {
  const std::string_view bytes = text.bytes();
  std::vector<TemplatePiece> pieces;
  size_t run = begin;
  const auto end_run = [&](size_t end) {
    if (end > run) pieces.push_back({std::string(bytes.substr(run, end - run)), -1});
  };
  for (size_t pos = begin; pos < bytes.size();) {
    const size_t end = text.RunEnd(pos);
    if (text.IsContent(pos)) pos = end;
    while (pos < end) {
      const auto [id, length] = controls_.Match(bytes.substr(0, end), pos);
      if (id < 0) {
        ++pos;
        continue;
      }
      end_run(pos);
      pieces.push_back({std::string(bytes.substr(pos, length)), id});
      run = pos += length;
    }
  }
  end_run(bytes.size());
  return pieces;
}

}  // namespace cascade
