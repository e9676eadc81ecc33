// What session_bench prints: lines of a name, a median, and the lowest and highest of so many.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace cascade::bench {

class Samples {
 public:
  void Add(double value) { values_.push_back(value); }
  size_t size() const { return values_.size(); }
  // None of these of no samples.
  double Median() const;
  double Lowest() const;
  double Highest() const;
  double Mean() const;
  // Half the width of the mean's 95 % interval; of at least two.
  double MeanError() const;

 private:
  std::vector<double> values_;
};

void PrintTitle(const std::string& title);
// "  NAME   median [lowest, highest] UNIT (n)", and after it what else there is to say.
void PrintFigure(const std::string& name, const Samples& samples, const char* unit, const std::string& remark = "");
// Seconds in ms; GB/s when `bytes` is not 0; beside a limit, how many times as long as that it takes.
void PrintTime(const std::string& name, const Samples& seconds, double bytes = 0, const Samples* limit = nullptr);

// The mean and its 95 % interval, for differences that are smaller than the machine's noise.
void PrintMean(const std::string& name, const Samples& samples, const char* unit);

std::string Format(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace cascade::bench
