#include "cli/figures/figures.h"

namespace capsweep::figures {

const std::vector<FigureKind>& FigureKinds() {
  static const auto* const kKinds = new std::vector<FigureKind>{
      {"capacity", "Capacity over width", "capacity over width, a panel for each sequence length", kNeedFit,
       CapacityFigure},
      {"panels", "Capacity and model for each number of heads",
       "capacity over width with the fitted model, a panel for each number of heads", kNeedFit, PanelsFigure},
      {"slopes", "Slope of capacity in width",
       "capacity per unit of width where it grows linearly, over sequence length", kNeedFit, SlopesFigure},
      {"heads", "Capacity over heads",
       "capacity over the number of heads at one sequence length, a line for each width", kNoNeed, HeadsFigure},
      {"heldout", "Prediction of the largest number of heads",
       "the largest number of heads, predicted by a fit that has not seen it, against the measured", kNeedHeldOut,
       HeldOutFigure},
      {"residuals", "Residuals", "measured over predicted capacity for the best form", kNeedFit, ResidualsFigure},
      {"parameters", "Trainable parameters", "trainable parameters over width, and capacity over trainable parameters",
       kNoNeed, ParametersFigure},
      {"memory", "Memory per parameter", "capacity and bits for each trainable parameter, over width", kNoNeed,
       MemoryFigure},
      {"freeze", "Frozen against trained MLP", "capacity over width with a frozen and with a trained MLP", kNoNeed,
       FreezeFigure},
      {"batch", "Batch size", "capacity over batch size", kNoNeed, BatchFigure},
      {"budget", "Training budget", "capacity over the training budget in steps", kNoNeed, BudgetFigure},
      {"mls", "Largest library against largest capacity",
       "MLS against MAC for each architecture, with their correlation", kNeedLibraries, LibrariesFigure},
      {"curves", "Learning curves", "items memorized over epochs for some points", kNeedCurves, CurvesFigure},
  };
  return *kKinds;
}

const FigureKind* FindFigure(const std::string& name) {
  for (const FigureKind& kind : FigureKinds()) {
    if (name == kind.name) return &kind;
  }
  return nullptr;
}

}  // namespace capsweep::figures
