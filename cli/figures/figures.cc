#include "cli/figures/figures.h"

namespace capsweep::figures {

const std::vector<FigureKind>& FigureKinds() {
  static const auto* const kKinds = new std::vector<FigureKind>{
      {"capacity", "Capacity over width", "capacity over width, a panel for each sequence length", kNeedFit,
       cli::Topic::kCapacity, CapacityFigure},
      {"panels", "Capacity and model for each number of heads",
       "capacity over width with the fitted model, a panel for each number of heads", kNeedFit, cli::Topic::kCapacity,
       PanelsFigure},
      {"slopes", "Slope of capacity in width",
       "capacity per unit of width where it grows linearly, over sequence length", kNeedFit, cli::Topic::kCapacity,
       SlopesFigure},
      {"heads", "Capacity over heads",
       "capacity over the number of heads at one sequence length, a line for each width", kNoNeed,
       cli::Topic::kCapacity, HeadsFigure},
      {"heldout", "Prediction of the largest number of heads",
       "the largest number of heads, predicted by a fit that has not seen it, against the measured", kNeedHeldOut,
       cli::Topic::kCapacity, HeldOutFigure},
      {"residuals", "Residuals", "measured over predicted capacity for the best form", kNeedFit, cli::Topic::kCapacity,
       ResidualsFigure},
      {"parameters", "Trainable parameters", "trainable parameters over width, and capacity over trainable parameters",
       kNoNeed, cli::Topic::kCapacity, ParametersFigure},
      {"memory", "Memory per parameter", "capacity and bits for each trainable parameter, over width", kNoNeed,
       cli::Topic::kCapacity, MemoryFigure},
      {"freeze", "Frozen against trained MLP", "capacity over width with a frozen and with a trained MLP", kNoNeed,
       cli::Topic::kCapacity, FreezeFigure},
      {"batch", "Batch size", "capacity over batch size", kNoNeed, cli::Topic::kCapacity, BatchFigure},
      {"budget", "Training budget", "capacity over the training budget in steps", kNoNeed, cli::Topic::kCapacity,
       BudgetFigure},
      {"mls", "Largest library against largest capacity",
       "MLS against MAC for each architecture, with their correlation", kNeedLibraries, cli::Topic::kCapacity,
       LibrariesFigure},
      {"curves", "Learning curves", "items memorized over epochs for some points", kNeedCurves, cli::Topic::kCapacity,
       CurvesFigure},
      {"prediction", "Prediction by rounds",
       "the prediction of an adaptive sweep with its 95 % interval, after each of its rounds", kNeedRounds,
       cli::Topic::kAdaptive, PredictionFigure},
      {"chosen", "Cells that were chosen", "which cells of the grid an adaptive sweep trained, and how often",
       kNeedRounds, cli::Topic::kAdaptive, ChosenFigure},
      {"families", "Families of models", "capacity and error of each family over the sequence length", kNeedAnalyses,
       cli::Topic::kFamilies, FamiliesFigure},
      {"losses", "Training and held-out loss",
       "training and held-out loss during training, some libraries of each model", kNeedLosses, cli::Topic::kAssoc,
       LossesFigure},
      {"balance", "Parameters against the critical amount of data",
       "the gap of training to held-out loss over the amount of data, and parameters over the critical amount",
       kNeedLosses, cli::Topic::kAssoc, BalanceFigure},
      {"distances", "Distance between activations", "distance between nearest activations, against the theory's",
       kNeedLosses, cli::Topic::kAssoc, DistancesFigure},
      {"bits", "Bits memorized", "bits memorized over the library's, and per parameter", kNeedAnalyses,
       cli::Topic::kBits, BitsFigure},
      {"minnet", "Least network", "parameters of the least network that memorizes a library, over its size",
       kNeedAnalyses, cli::Topic::kMinnet, MinnetFigure},
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
