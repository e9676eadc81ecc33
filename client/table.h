// A table of text in columns.
#pragma once

#include <string>
#include <vector>

namespace cascade::client {

enum class Align { kLeft, kRight };

// Each column is as wide as its widest cell; two spaces stand between columns.
class Table {
 public:
  // One alignment per column.
  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}
  // As many cells as there are columns, of one byte per character or UTF-8 without wide characters.
  void AddRow(std::vector<std::string> cells);
  // Lines, each ended by a newline, without trailing spaces.
  std::string Draw() const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cascade::client
