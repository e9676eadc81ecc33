#include "client/history_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace cascade::client {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

struct Head {
  std::vector<int64_t> tokens;
  std::vector<int32_t> parts;
  void Add(int part, int64_t first, int64_t last, int64_t step = 1) {
    for (int64_t token = first; token <= last; token += step) {
      tokens.push_back(token);
      parts.push_back(part);
    }
  }
};

std::string Line(const std::string& text, const std::string& begin) {
  const size_t place = text.find("\n" + begin);
  if (place == std::string::npos) return "";
  return text.substr(place + 1, text.find('\n', place + 1) - place - 1);
}

TEST(HistoryPicture, ShowsHeldThinnedAndForgotten) {
  HistoryPicture picture(40, 2, {.columns = 10, .ascii = true});
  Head head;
  head.Add(-1, 0, 1);
  head.Add(1, 20, 27, 2);
  head.Add(0, 28, 37);
  head.Add(2, 38, 39);
  picture.AddHead(head.tokens, head.parts);
  const std::string text = picture.Draw();
  EXPECT_EQ(Line(text, "sinks"), "sinks        S");
  EXPECT_EQ(Line(text, "sub-cache 1"), "sub-cache 1       ==");
  EXPECT_EQ(Line(text, "sub-cache 0"), "sub-cache 0         ##=");
  EXPECT_EQ(Line(text, "open stride"), "open stride           =");
  EXPECT_EQ(Line(text, "all "), "all          S....==###");
  EXPECT_THAT(text, HasSubstr("one column: 4"));
  EXPECT_EQ(picture.OldestHeld(), 20);
  EXPECT_THAT(text, Not(HasSubstr("\033")));
}

TEST(HistoryPicture, LegendTellsSpanHeldAndShare) {
  HistoryPicture picture(100'000, 1, {.columns = 20});
  Head head;
  head.Add(-1, 0, 3);
  head.Add(0, 90'000, 99'999, 4);
  picture.AddHead(head.tokens, head.parts);
  const std::string text = picture.Draw();
  const std::string legend = text.substr(text.find("held  of them"));
  EXPECT_THAT(legend, HasSubstr("90,000 - 99,996  2,500"));
  EXPECT_THAT(legend, HasSubstr("25.0 %"));
  EXPECT_THAT(Line(legend, "open stride"), HasSubstr("0"));
  EXPECT_THAT(Line(legend, "all"), HasSubstr("2,504"));
}

TEST(HistoryPicture, AveragesHeads) {
  // One of two heads holds everything: half height.
  HistoryPicture picture(8, 1, {.columns = 2, .ascii = true});
  Head all, none;
  all.Add(0, 0, 7);
  picture.AddHead(all.tokens, all.parts);
  picture.AddHead(none.tokens, none.parts);
  EXPECT_EQ(Line(picture.Draw(), "all "), "all          ==");
}

TEST(HistoryPicture, ColumnsShareTheTokensWithoutGapOrOverlap) {
  // Whatever the ratio, a history held in full is drawn full in every column.
  for (int64_t position : {1, 2, 7, 79, 80, 81, 1000, 4099}) {
    for (int columns : {1, 2, 3, 80, 120}) {
      HistoryPicture picture(position, 1, {.columns = columns, .ascii = true});
      Head head;
      head.Add(0, 0, position - 1);
      picture.AddHead(head.tokens, head.parts);
      EXPECT_EQ(Line(picture.Draw(), "all "), "all          " + std::string(std::min<int64_t>(columns, position), '#'))
          << position << " tokens in " << columns << " columns";
    }
  }
}

TEST(HistoryPicture, BeginsAtFirstToken) {
  HistoryPicture picture(1000, 1, {.columns = 10, .first_token = 990, .ascii = true});
  Head head;
  head.Add(-1, 0, 3);
  head.Add(0, 980, 989);
  head.Add(0, 995, 999);
  picture.AddHead(head.tokens, head.parts);
  const std::string text = picture.Draw();
  EXPECT_THAT(text, HasSubstr("990    999\n"));
  EXPECT_EQ(Line(text, "sinks"), "sinks        ");
  EXPECT_EQ(Line(text, "all "), "all          .....#####");
}

TEST(HistoryPicture, LeavesOutWhatDoesNotFit) {
  HistoryPicture picture(10, 2, {.columns = 10, .ascii = true});
  picture.AddHead(std::vector<int64_t>{-1, 10, 1'000'000'000'000, 5, 6}, std::vector<int32_t>{0, 0, 0, -2, 3});
  EXPECT_EQ(Line(picture.Draw(), "all "), "all          ..........");
}

TEST(HistoryPicture, SaysWhenThereIsNothing) {
  EXPECT_EQ(HistoryPicture(0, 4, {}).Draw(), "the session has no tokens yet\n");
  EXPECT_EQ(HistoryPicture(5, 4, {}).Draw(), "the server told of no head\n");
}

TEST(HistoryPicture, PaintsOnlyWhenAsked) {
  HistoryPicture picture(4, 1, {.columns = 4, .colour = true});
  Head head;
  head.Add(0, 2, 3);
  picture.AddHead(head.tokens, head.parts);
  EXPECT_THAT(picture.Draw(), HasSubstr("\033[32m█\033[0m"));
}

}  // namespace
}  // namespace cascade::client
