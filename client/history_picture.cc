#include "client/history_picture.h"

#include <algorithm>

#include "client/format.h"
#include "client/table.h"

namespace cascade::client {
namespace {

constexpr const char* kBlocks[] = {"·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr const char* kAsciiBlocks[] = {".", "_", "-", "~", "=", "+", "*", "%", "#"};
constexpr int kNameWidth = 13;

constexpr const char* kGreen = "\033[32m";
constexpr const char* kYellow = "\033[33m";
constexpr const char* kCyan = "\033[36m";
constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";

std::string Name(const std::string& name) { return name + std::string(kNameWidth - name.size(), ' '); }

}  // namespace

HistoryPicture::HistoryPicture(int64_t position, int num_sub_caches, Options options)
    : position_(std::max<int64_t>(position, 0)), num_sub_caches_(std::max(num_sub_caches, 1)), options_(options) {
  options_.first_token = std::clamp<int64_t>(options_.first_token, 0, std::max<int64_t>(position_ - 1, 0));
  const int64_t tokens = std::max<int64_t>(position_ - options_.first_token, 1);
  options_.columns = static_cast<int>(std::clamp<int64_t>(options_.columns, 1, tokens));
  parts_.push_back({.name = "sinks"});
  for (int i = num_sub_caches_ - 1; i >= 0; --i) parts_.push_back({.name = "sub-cache " + std::to_string(i)});
  parts_.push_back({.name = "open stride"});
  for (Part& part : parts_) part.held_in_column.assign(options_.columns, 0);
}

int64_t HistoryPicture::ColumnOf(int64_t token) const {
  return (token - options_.first_token) * options_.columns / (position_ - options_.first_token);
}

int64_t HistoryPicture::ColumnWidth(int column) const {
  const int64_t tokens = position_ - options_.first_token;
  const auto begin = [&](int64_t c) { return (c * tokens + options_.columns - 1) / options_.columns; };
  return begin(column + 1) - begin(column);
}

void HistoryPicture::AddHead(std::span<const int64_t> token_indices, std::span<const int32_t> sub_caches) {
  ++heads_;
  for (size_t i = 0; i < std::min(token_indices.size(), sub_caches.size()); ++i) {
    const int64_t token = token_indices[i];
    const int sub_cache = sub_caches[i];
    if (token < 0 || token >= position_ || sub_cache < -1 || sub_cache > num_sub_caches_) continue;
    const int place = sub_cache == -1                ? 0
                      : sub_cache == num_sub_caches_ ? num_sub_caches_ + 1
                                                     : num_sub_caches_ - sub_cache;
    Part& part = parts_[place];
    ++part.held;
    part.first = part.first < 0 ? token : std::min(part.first, token);
    part.last = std::max(part.last, token);
    if (token >= options_.first_token) ++part.held_in_column[ColumnOf(token)];
  }
}

int64_t HistoryPicture::OldestHeld() const {
  int64_t oldest = position_;
  for (size_t i = 1; i < parts_.size(); ++i) {
    if (parts_[i].first >= 0) oldest = std::min(oldest, parts_[i].first);
  }
  return oldest;
}

int HistoryPicture::Level(int64_t held, int column) const {
  const int64_t all = ColumnWidth(column) * heads_;
  if (held <= 0) return 0;
  return held >= all ? 8 : static_cast<int>(1 + held * 7 / all);
}

std::string HistoryPicture::Painted(const std::string& text, const char* colour) const {
  return options_.colour ? colour + text + kPlain : text;
}

std::string HistoryPicture::Cell(int level, bool is_sinks) const {
  if (is_sinks) return Painted("S", kCyan);
  const std::string block = options_.ascii ? kAsciiBlocks[level] : kBlocks[level];
  return Painted(block, level == 0 ? kDim : level == 8 ? kGreen : kYellow);
}

std::string HistoryPicture::Bar(const Part& part, bool is_sinks) const {
  if (part.last < options_.first_token) return "";
  const int64_t begin = ColumnOf(std::max(part.first, options_.first_token));
  std::string bar(begin, ' ');
  for (int64_t column = begin; column <= ColumnOf(part.last); ++column) {
    bar += Cell(Level(part.held_in_column[column], static_cast<int>(column)), is_sinks);
  }
  return bar;
}

std::string HistoryPicture::BarOfAll() const {
  std::string bar;
  for (int column = 0; column < options_.columns; ++column) {
    int64_t held = 0;
    for (const Part& part : parts_) held += part.held_in_column[column];
    bar += Cell(Level(held, column), parts_[0].held_in_column[column] > 0);
  }
  return bar;
}

std::string HistoryPicture::Key() const {
  const bool ascii = options_.ascii;
  return Painted(ascii ? "#" : "█", kGreen) + " held   " + Painted(ascii ? "%..._" : "▇…▁", kYellow) + " thinned   " +
         Painted(ascii ? "." : "·", kDim) + " forgotten   " + Painted("S", kCyan) + " sinks";
}

std::string HistoryPicture::Legend() const {
  Table table({Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  table.AddRow({Name(""), "tokens", "held", "of them"});
  const auto share = [](double held, double span) { return Fixed(100 * held / span, 1) + " %"; };
  double held_by_all = 0;
  for (const Part& part : parts_) {
    const double held = static_cast<double>(part.held) / static_cast<double>(heads_);
    held_by_all += held;
    if (part.held == 0) {
      table.AddRow({part.name, "-", "0", "-"});
    } else {
      table.AddRow({part.name, WithCommas(part.first) + " - " + WithCommas(part.last),
                    WithCommas(static_cast<int64_t>(held + 0.5)),
                    share(held, static_cast<double>(part.last - part.first + 1))});
    }
  }
  table.AddRow({"all", "0 - " + WithCommas(position_ - 1), WithCommas(static_cast<int64_t>(held_by_all + 0.5)),
                share(held_by_all, static_cast<double>(position_))});
  return table.Draw();
}

std::string HistoryPicture::Draw() const {
  if (position_ == 0) return "the session has no tokens yet\n";
  if (heads_ == 0) return "the server told of no head\n";
  const std::string first = WithCommas(options_.first_token), last = WithCommas(position_ - 1);
  const int space = options_.columns - static_cast<int>(first.size() + last.size());
  std::string text = Name("") + first + (space >= 1 ? std::string(space, ' ') : " - ") + last + "\n";
  for (size_t i = 0; i < parts_.size(); ++i) text += Name(parts_[i].name) + Bar(parts_[i], i == 0) + "\n";
  text += Name("all") + BarOfAll() + "\n";
  const double tokens = static_cast<double>(position_ - options_.first_token) / options_.columns;
  text +=
      Name("") + Key() + "   one column: " + (tokens == 1 ? "1 token" : Fixed(tokens, tokens < 10 ? 1 : 0) + " tokens");
  return text + "\n\n" + Legend();
}

}  // namespace cascade::client
