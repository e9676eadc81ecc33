#include "engine/text/jinja/scopes.h"

#include <unordered_set>
#include <vector>

namespace cascade::jinja {
namespace {

class Scope {
 public:
  Scope(const Scope* parent, std::vector<Name>* hidden) : parent_(parent), hidden_(*hidden) {}

  void Declare(Name name) { known_.insert(name); }

  void DeclareTarget(const Expression& target) {
    if (target.kind == Expression::Kind::kName) Declare(target.name);
    for (const ExpressionPtr& item : target.operands) DeclareTarget(*item);
  }

  void DeclareParameters(const Statement& statement) {
    for (const auto& parameter : statement.parameters) Declare(parameter.name);
    for (const auto& parameter : statement.parameters) {
      if (parameter.otherwise != nullptr) Load(*parameter.otherwise);
    }
  }

  void Load(const Expression& expression) {
    if (expression.kind == Expression::Kind::kName || expression.kind == Expression::Kind::kNamespaceAttribute) {
      if (!Knows(expression.name)) Declare(expression.name);
    }
    for (const ExpressionPtr& operand : expression.operands) {
      if (operand != nullptr) Load(*operand);
    }
    for (const auto& [name, value] : expression.keywords) Load(*value);
  }

  void Store(const Expression& target, bool in_branch) {
    if (target.kind == Expression::Kind::kNamespaceAttribute) return Load(target);
    if (target.kind == Expression::Kind::kName) StoreName(target.name, in_branch);
    for (const ExpressionPtr& item : target.operands) Store(*item, in_branch);
  }

  // What the statements themselves do to the scope; those inside scopes of their own come later.
  void Read(const Body& body, bool in_branch = false) {
    for (const Statement& statement : body) {
      switch (statement.kind) {
        case Statement::Kind::kOutput:
        case Statement::Kind::kFor:
        case Statement::Kind::kCallBlock:
        case Statement::Kind::kFilterBlock:
          Load(*statement.value);
          break;
        case Statement::Kind::kIf:
          for (const auto& branch : statement.branches) {
            if (branch.test != nullptr) Load(*branch.test);
            Read(branch.body, true);
          }
          break;
        case Statement::Kind::kSet:
          Load(*statement.value);
          Store(*statement.target, in_branch);
          break;
        case Statement::Kind::kSetBlock:
          Store(*statement.target, in_branch);
          break;
        case Statement::Kind::kMacro:
          StoreName(statement.name, in_branch);
          break;
        case Statement::Kind::kWith:
          for (const auto& assignment : statement.assignments) Load(*assignment.second);
          break;
        default:
          break;
      }
    }
  }

  void ReadInner(Body* body);

 private:
  bool Knows(Name name) const { return known_.count(name) > 0 || (parent_ != nullptr && parent_->Knows(name)); }

  void StoreName(Name name, bool in_branch) {
    if (!Knows(name) && !in_branch) hidden_.push_back(name);
    Declare(name);
  }

  const Scope* parent_;
  std::unordered_set<Name> known_;
  std::vector<Name>& hidden_;
};

void Scope::ReadInner(Body* body) {
  for (Statement& statement : *body) {
    for (auto& branch : statement.branches) ReadInner(&branch.body);
    if (statement.body.empty() && statement.otherwise.empty()) continue;
    Scope inner(this, &statement.hidden);
    if (statement.kind == Statement::Kind::kFor) {
      inner.DeclareTarget(*statement.target);
      Scope otherwise(this, &statement.otherwise_hidden);
      otherwise.Read(statement.otherwise);
      otherwise.ReadInner(&statement.otherwise);
    }
    inner.DeclareParameters(statement);
    for (const auto& assignment : statement.assignments) inner.DeclareTarget(*assignment.first);
    inner.Read(statement.body);
    inner.ReadInner(&statement.body);
  }
}

}  // namespace

void HideNames(Syntax* syntax) {
  Scope root(nullptr, &syntax->hidden);
  root.Read(syntax->body);
  root.ReadInner(&syntax->body);
}

}  // namespace cascade::jinja
