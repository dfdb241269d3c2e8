// The JSON of a budget study and of a validation (docs/reference/fit-json.md). Inside ecm/ only.
#pragma once

#include <nlohmann/json.hpp>

#include "ecm/budget_study.h"
#include "ecm/validation_table.h"

namespace capsweep::ecm {

nlohmann::ordered_json StudyToJson(const BudgetStudy& study);
nlohmann::ordered_json ValidationToJson(const Validation& validation);

// Throw nlohmann's exceptions on what they did not write.
BudgetStudy StudyFromJson(const nlohmann::ordered_json& json);
Validation ValidationFromJson(const nlohmann::ordered_json& json);

}  // namespace capsweep::ecm
