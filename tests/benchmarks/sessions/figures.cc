#include "tests/benchmarks/sessions/figures.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <numeric>

namespace cascade::bench {

double Samples::Median() const {
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double Samples::Lowest() const { return *std::min_element(values_.begin(), values_.end()); }
double Samples::Highest() const { return *std::max_element(values_.begin(), values_.end()); }

double Samples::Mean() const {
  return std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(values_.size());
}

double Samples::MeanError() const {
  const double mean = Mean(), count = static_cast<double>(values_.size());
  double squares = 0;
  for (const double value : values_) squares += (value - mean) * (value - mean);
  return 1.96 * std::sqrt(squares / (count - 1) / count);
}

void PrintTitle(const std::string& title) {
  std::printf("\n%s\n", title.c_str());
  std::fflush(stdout);
}

void PrintFigure(const std::string& name, const Samples& samples, const char* unit, const std::string& remark) {
  std::printf("  %-56s %11.3f [%.3f, %.3f] %s (%zu)%s%s\n", name.c_str(), samples.Median(), samples.Lowest(),
              samples.Highest(), unit, samples.size(), remark.empty() ? "" : "  ", remark.c_str());
  std::fflush(stdout);
}

void PrintTime(const std::string& name, const Samples& seconds, double bytes, const Samples* limit) {
  std::string remark;
  if (bytes > 0) remark = Format("%.2f GB/s", bytes / seconds.Median() / 1e9);
  if (limit != nullptr) remark += Format("  %.2f x the limit", seconds.Median() / limit->Median());
  std::printf("  %-56s %11.3f [%.3f, %.3f] ms (%zu)  %s\n", name.c_str(), 1e3 * seconds.Median(),
              1e3 * seconds.Lowest(), 1e3 * seconds.Highest(), seconds.size(), remark.c_str());
  std::fflush(stdout);
}

void PrintMean(const std::string& name, const Samples& samples, const char* unit) {
  std::printf("  %-56s %11.3f +- %.3f %s, mean and its 95 %% interval (%zu)\n", name.c_str(), samples.Mean(),
              samples.size() < 2 ? 0.0 : samples.MeanError(), unit, samples.size());
  std::fflush(stdout);
}

std::string Format(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

}  // namespace cascade::bench
