#include "engine/text/jinja/name_checks.h"

#include <string>
#include <string_view>
#include <unordered_set>

namespace cascade::jinja {
namespace {

// Calls `visit` for every expression of a body, the outer ones first.
template <typename Visit>
void ForEach(const Expression* expression, const Visit& visit) {
  if (expression == nullptr) return;
  visit(*expression);
  for (const ExpressionPtr& operand : expression->operands) ForEach(operand.get(), visit);
  for (const auto& [name, value] : expression->keywords) ForEach(value.get(), visit);
}

template <typename StatementVisit, typename Visit>
void ForEach(Body& body, const StatementVisit& visit_statement, const Visit& visit) {
  for (Statement& statement : body) {
    visit_statement(statement);
    for (const ExpressionPtr* part : {&statement.target, &statement.value, &statement.test})
      ForEach(part->get(), visit);
    for (const auto& parameter : statement.parameters) ForEach(parameter.otherwise.get(), visit);
    for (const auto& [target, value] : statement.assignments) {
      ForEach(target.get(), visit);
      ForEach(value.get(), visit);
    }
    for (auto& branch : statement.branches) {
      ForEach(branch.test.get(), visit);
      ForEach(branch.body, visit_statement, visit);
    }
    ForEach(statement.body, visit_statement, visit);
    ForEach(statement.otherwise, visit_statement, visit);
  }
}

class NameCheck {
 public:
  explicit NameCheck(Syntax* syntax) : syntax_(*syntax) {}

  absl::Status Run() {
    stored_.insert("caller");
    stored_.insert("loop");
    ForEach(
        syntax_.body, [&](Statement& statement) { Collect(statement); },
        [&](const Expression& expression) { CollectAttributes(expression); });
    ForEach(
        syntax_.body, [&](Statement& statement) {}, [&](const Expression& expression) { Check(expression); });
    return status_;
  }

 private:
  void Store(const Expression* target) {
    ForEach(target, [&](const Expression& part) {
      if (part.kind == Expression::Kind::kName) stored_.insert(*part.name);
    });
  }

  void Collect(Statement& statement) {
    Store(statement.target.get());
    for (const auto& assignment : statement.assignments) Store(assignment.first.get());
    for (const auto& parameter : statement.parameters) stored_.insert(*parameter.name);
    if (statement.kind == Statement::Kind::kMacro) stored_.insert(*statement.name);
    if (statement.kind != Statement::Kind::kMacro && statement.kind != Statement::Kind::kCallBlock) return;
    const auto names = NamesOf(statement);
    statement.takes_caller = names.count("caller") > 0;
    for (const char* special : {"varargs", "kwargs"}) {
      if (names.count(special) > 0 && !HasParameter(statement, special)) {
        Refuse(statement.place, std::string("'") + special + "' in a macro");
      }
    }
    if (statement.takes_caller && HasParameter(statement, "caller")) {
      Refuse(statement.place, "a parameter named 'caller'");
    }
  }

  // Not again for the macros in a macro: each macro's body is read once more for every macro around it, and those are
  // few.
  static std::unordered_set<std::string_view> NamesOf(Statement& statement) {
    std::unordered_set<std::string_view> names;
    ForEach(
        statement.body, [](Statement&) {},
        [&](const Expression& expression) {
          if (expression.kind == Expression::Kind::kName) names.insert(*expression.name);
        });
    return names;
  }

  static bool HasParameter(const Statement& statement, std::string_view name) {
    for (const auto& parameter : statement.parameters) {
      if (*parameter.name == name) return true;
    }
    return false;
  }

  // Attributes that the template itself makes may hold a macro.
  void CollectAttributes(const Expression& expression) {
    if (expression.kind == Expression::Kind::kNamespaceAttribute) attributes_.insert(*expression.attribute);
    for (const auto& [name, value] : expression.keywords) attributes_.insert(*name);
    if (expression.kind != Expression::Kind::kDict) return;
    for (size_t i = 0; i < expression.operands.size(); i += 2) {
      const Text* key = expression.operands[i]->constant.text();
      if (key != nullptr) attributes_.insert(key->bytes());
    }
  }

  void Check(const Expression& expression) {
    if (expression.kind == Expression::Kind::kCall) CheckCall(expression, *expression.operands[0]);
    if (expression.kind == Expression::Kind::kFilter) CheckFilter(expression);
    if (expression.kind == Expression::Kind::kName && stored_.count(*expression.name) == 0) {
      for (std::string_view special : {"self", "super", "cycler", "joiner", "lipsum"}) {
        if (*expression.name == special) Refuse(expression.place, "'" + *expression.name + "'");
      }
    }
    if (expression.kind == Expression::Kind::kBinary && expression.operators[0] == Operator::kAdd) {
      for (const ExpressionPtr& operand : expression.operands) CheckMarkup(*operand);
    }
  }

  // In Python these filters give a str of another kind, which escapes what is added to it.
  void CheckMarkup(const Expression& operand) {
    if (operand.kind != Expression::Kind::kFilter) return;
    for (std::string_view filter : {"safe", "escape", "e"}) {
      if (*operand.name == filter) Refuse(operand.place, "adding to the result of the filter '" + *operand.name + "'");
    }
  }

  void CheckCall(const Expression& call, const Expression& callee) {
    if (callee.kind == Expression::Kind::kName) {
      const std::string& name = *callee.name;
      if (name == "loop") return Refuse(call.place, "calling 'loop'");
      if (FindFunction(name) == nullptr && stored_.count(name) == 0)
        Refuse(callee.place, "the function '" + name + "'");
    }
    if (callee.kind == Expression::Kind::kAttribute && !IsMethodName(*callee.name) &&
        attributes_.count(*callee.name) == 0) {
      Refuse(callee.place, "the method '" + *callee.name + "'");
    }
  }

  void CheckFilter(const Expression& filter) {
    const std::string& name = *filter.name;
    const bool is_attribute = name == "selectattr" || name == "rejectattr";
    const size_t at = is_attribute ? 2 : 1;
    if (filter.operands.size() <= at) return;
    const Text* argument = filter.operands[at]->constant.text();
    if (argument == nullptr) return;
    const std::string& named = argument->bytes();
    if (name == "map" && FindFilter(named) == nullptr) Refuse(filter.place, "the filter '" + named.substr(0, 40) + "'");
    if ((is_attribute || name == "select" || name == "reject") && FindTest(named) == nullptr) {
      Refuse(filter.place, "the test '" + named.substr(0, 40) + "'");
    }
  }

  void Refuse(Place place, const std::string& what) {
    if (status_.ok()) status_ = absl::UnimplementedError(ToString(place) + ": " + what + " is not supported");
  }

  Syntax& syntax_;
  std::unordered_set<std::string_view> stored_, attributes_;
  absl::Status status_;
};

}  // namespace

absl::Status CheckNames(Syntax* syntax) { return NameCheck(syntax).Run(); }

}  // namespace cascade::jinja
