#include "client/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "client/terminal.h"

namespace cascade::client {

ProgressBar::ProgressBar() : enabled_(IsTerminal(STDERR_FILENO)) {}

std::string ProgressBar::Line(int64_t done, int64_t total, const std::string& note, int width) {
  const double share = total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0;
  char percent[16];
  std::snprintf(percent, sizeof(percent), "%3d %%", static_cast<int>(share * 100));
  const std::string text = std::string("] ") + percent + "  " + note;
  const int cells = std::clamp(width - 1 - static_cast<int>(text.size()), 5, 40);
  const int full = static_cast<int>(share * cells);
  return ("[" + std::string(full, '#') + std::string(cells - full, '.') + text).substr(0, std::max(width, 1));
}

void ProgressBar::Update(int64_t done, int64_t total, const std::string& note) {
  const auto now = std::chrono::steady_clock::now();
  if (!enabled_ || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  drawn_ = true;
  std::fprintf(stderr, "\r%s\033[K", Line(done, total, note, TerminalColumns(STDERR_FILENO, 80) - 1).c_str());
  std::fflush(stderr);
}

void ProgressBar::Clear() {
  if (!drawn_) return;
  drawn_ = false;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
}

}  // namespace cascade::client
