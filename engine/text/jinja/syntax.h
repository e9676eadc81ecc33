// A parsed template.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/text/jinja/builtin.h"
#include "engine/text/jinja/jinja_value.h"
#include "engine/text/jinja/place.h"

namespace cascade::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,  // binary
  kAnd,
  kOr,
  kNot,
  kNegate,
  kPlus,  // unary
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kIn,
  kNotIn,  // comparisons
};

struct Expression {
  enum class Kind : uint8_t {
    kConstant,
    kName,                // name
    kList,                // operands
    kTuple,               // operands
    kDict,                // operands: key, value, key, ..
    kUnary,               // operators[0], operands[0]
    kBinary,              // operators[0], operands[0..1]
    kCompare,             // operands[0] operators[0] operands[1] operators[1] ..
    kConcat,              // operands
    kCondition,           // operands: test, value, otherwise (may be null)
    kAttribute,           // operands[0].name
    kItem,                // operands[0][operands[1]]
    kSlice,               // operands: start, stop, step; each may be null. Only as operands[1] of kItem
    kCall,                // operands[0](operands[1..], keywords)
    kFilter,              // operands[0] | builtin(operands[1..], keywords)
    kTest,                // operands[0] is builtin(operands[1..], keywords)
    kBody,                // the text of the block that a filter is applied to
    kNamespaceAttribute,  // name.attribute, as a target of `set`
  };

  Kind kind = Kind::kConstant;
  Place place;
  int height = 1;  // of the tree below
  Value constant;
  Name name = nullptr;
  Name attribute = nullptr;
  const Builtin* builtin = nullptr;
  std::vector<Operator> operators;
  std::vector<ExpressionPtr> operands;
  std::vector<std::pair<Name, ExpressionPtr>> keywords;
};

using Body = std::vector<Statement>;

// Statements that run in a frame of their own say in `hidden` which variables begin as undefined there, although the
// caller may have given one of the name (scopes.h).
struct Statement {
  enum class Kind : uint8_t {
    kText,         // constant
    kOutput,       // value
    kIf,           // branches: test and body; the last test is null for `else`
    kFor,          // target, value, test (may be null), body, otherwise
    kSet,          // target, value
    kSetBlock,     // target, value (the filters on kBody, or kBody itself), body
    kMacro,        // name, parameters, body
    kCallBlock,    // value (a kCall), parameters, body
    kFilterBlock,  // value (filters on kBody), body
    kWith,         // targets, values, body
    kScope,        // body
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPtr test;
    Body body;
  };
  struct Parameter {
    Name name = nullptr;
    ExpressionPtr otherwise;  // null: undefined
  };

  Kind kind = Kind::kText;
  Place place;
  Value constant;
  Name name = nullptr;
  ExpressionPtr target, value, test;
  Body body, otherwise;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;  // of kWith
  std::vector<Name> hidden, otherwise_hidden;
  bool takes_caller = false;  // a macro whose body names `caller`
};

struct Syntax {
  std::string source;
  std::unordered_set<std::string> names;  // interned; their addresses stay
  Body body;
  std::vector<Name> hidden;

  Name Intern(std::string_view name) { return &*names.emplace(name).first; }
};

}  // namespace cascade::jinja
