#include "engine/grammar/automaton.h"

#include <gtest/gtest.h>

namespace cascade::grammar {
namespace {

TEST(Automaton, DepthToEnd) {
  AutomatonBuilder builder(100);
  // rule: '[' rule ']' | 'x'
  const uint32_t rule = builder.AddState();
  const uint32_t open = builder.AddState();
  const uint32_t after = builder.AddState();
  const uint32_t lost = builder.AddState();
  const uint32_t outer = builder.AddState();  // '<' rule, and then lost
  builder.AddEdge(rule, 'x', kEnd);
  builder.AddEdge(rule, '[', open);
  builder.AddCall(open, rule, after);
  builder.AddEdge(after, ']', kEnd);
  builder.AddEdge(lost, 'y', lost);
  builder.AddCall(outer, rule, lost);
  const Automaton automaton(builder, rule);
  ByteSet all;
  all.set();
  const auto need = automaton.DepthToEnd(all, 10);
  EXPECT_EQ(need[kEnd], 0);
  EXPECT_EQ(need[rule], 0);
  EXPECT_EQ(need[open], 1);
  EXPECT_EQ(need[after], 0);
  EXPECT_EQ(need[lost], Automaton::kNever);
  EXPECT_EQ(need[outer], Automaton::kNever);
  EXPECT_EQ(automaton.DepthToEnd(all, 0)[open], Automaton::kNever);
  ByteSet no_x = all;
  no_x['x'] = false;
  EXPECT_EQ(automaton.DepthToEnd(no_x, 10)[rule], Automaton::kNever);  // '[' without end
}

TEST(Automaton, StopsAtItsLimit) {
  AutomatonBuilder builder(3);
  EXPECT_NE(builder.AddState(), kEnd);
  EXPECT_NE(builder.AddState(), kEnd);
  EXPECT_FALSE(builder.full());
  EXPECT_EQ(builder.AddState(), kEnd);
  EXPECT_TRUE(builder.full());
}

}  // namespace
}  // namespace cascade::grammar
