// The models' outputs against the formulas of docs/science.md, written out in loops over single numbers: gradients that
// agree with differences would agree for the wrong model too.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/model/layout.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer {
namespace {

using Vec = std::vector<double>;

Vec Sum(const Vec& a, const Vec& b) {
  Vec out = a;
  for (size_t i = 0; i < a.size(); ++i) out[i] += b[i];
  return out;
}

// One item at a time.
class Formulas {
 public:
  Formulas(const PointSpec& point, const Library& library, const Vec& weights)
      : p_(point), library_(library), layout_(MakeLayout(point)), weights_(weights) {}

  // The head's outputs of one item's positions with targets, one after the other.
  Vec Outputs(int64_t item) const {
    Vec out;
    const std::vector<Vec> read = p_.family == Family::kMlp  ? std::vector<Vec>{MlpFamily(item)}
                                  : p_.family == Family::kKs ? std::vector<Vec>{KsFamily(item)}
                                                             : Transformer(item);
    for (const Vec& x : read) {
      const bool tied = p_.family == Family::kGpt2;
      for (const double y : Linear(x, tied ? Role::kTokenEmbedding : Role::kHead, Role::kHeadBias)) out.push_back(y);
    }
    return out;
  }

 private:
  const TensorSpec* Spec(Role role, int64_t layer) const {
    const int at = layout_.Find(role, layer);
    return at < 0 ? nullptr : &layout_.tensors[static_cast<size_t>(at)];
  }
  Vec Row(Role role, int64_t layer, int64_t row) const {
    const TensorSpec* spec = Spec(role, layer);
    if (spec == nullptr) return {};
    const auto from = weights_.begin() + spec->offset + row * spec->cols;
    return {from, from + spec->cols};
  }
  Vec Linear(const Vec& x, Role weight, Role bias, int64_t layer = 0) const {
    Vec out = Row(bias, layer, 0);
    const int64_t rows = Spec(weight, layer)->rows;
    out.resize(static_cast<size_t>(rows));
    for (int64_t i = 0; i < rows; ++i) {
      const Vec w = Row(weight, layer, i);
      for (size_t j = 0; j < x.size(); ++j) out[static_cast<size_t>(i)] += w[j] * x[j];
    }
    return out;
  }
  Vec Norm(const Vec& x, Role gain, Role bias, int64_t layer = 0) const {
    const auto n = static_cast<double>(x.size());
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / n;
    for (const double v : x) variance += (v - mean) * (v - mean) / n;
    const Vec g = Row(gain, layer, 0), b = Row(bias, layer, 0);
    Vec out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      out[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * g[i] + (b.empty() ? 0 : b[i]);
    }
    return out;
  }
  static Vec Softmax(Vec x) {
    double sum = 0;
    for (double& v : x) sum += v = std::exp(v);
    for (double& v : x) v /= sum;
    return x;
  }
  Vec Activate(Vec x) const {
    if (p_.activation == Activation::kSoftmax) return Softmax(x);
    for (double& v : x) {
      v = p_.activation == Activation::kRelu ? std::max(v, 0.0) : 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    }
    return x;
  }
  Vec Mlp(const Vec& x, int64_t layer) const {
    const Vec hidden = Activate(Linear(x, Role::kUpWeight, Role::kUpBias, layer));
    return Linear(hidden, Role::kDownWeight, Role::kDownBias, layer);
  }

  int64_t Token(int64_t item, int64_t position) const {
    return library_.tokens[static_cast<size_t>(item * p_.seq_len + position)];
  }
  Vec Vector(int64_t item, int64_t position) const {
    const auto from = library_.vectors.begin() + (item * p_.seq_len + position) * p_.vector_dim;
    return {from, from + p_.vector_dim};
  }
  // What stands at a position before the first layer.
  Vec Input(int64_t item, int64_t position) const {
    Vec x(static_cast<size_t>(p_.width));
    if (p_.tokens == Tokens::kVectors) {
      x = Linear(Vector(item, position), Role::kInputWeight, Role::kInputBias);
    } else if (p_.mode != Mode::kLm) {
      x = Row(Role::kTokenEmbedding, 0, Token(item, position));
    } else if (position > 0) {
      x = Row(Role::kTokenEmbedding, 0, Token(item, position - 1));
    }
    Vec place = Row(Role::kPositionEmbedding, 0, position);
    place.resize(x.size());
    for (double& v : place) v *= p_.family == Family::kGpt2 ? 1 : 1 / std::sqrt(static_cast<double>(p_.width));
    return Sum(x, place);
  }

  // Head h of a query or key at a position.
  Vec HeadOf(const Vec& all, int64_t h, int64_t position, bool turn) const {
    Vec x(all.begin() + h * p_.head_dim, all.begin() + (h + 1) * p_.head_dim);
    if (!turn || p_.positions != Positions::kRotary) return x;
    for (size_t i = 0; i < x.size() / 2; ++i) {
      const double angle = static_cast<double>(position) *
                           std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(p_.head_dim));
      const double a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * std::cos(angle) - b * std::sin(angle);
      x[2 * i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return x;
  }
  std::vector<Vec> Attend(const std::vector<Vec>& x, int64_t layer) const {
    std::vector<Vec> q, k, v, out;
    for (const Vec& at : x) {
      q.push_back(Linear(at, Role::kQuery, Role::kQueryBias, layer));
      k.push_back(Linear(at, Role::kKey, Role::kKeyBias, layer));
      v.push_back(Linear(at, Role::kValue, Role::kValueBias, layer));
    }
    for (int64_t t = 0; t < p_.seq_len; ++t) {
      Vec mixed;
      for (int64_t h = 0; h < p_.heads; ++h) {
        const int64_t seen = p_.mode == Mode::kLm ? t + 1 : p_.seq_len;
        const Vec query = HeadOf(q[static_cast<size_t>(t)], h, t, true);
        Vec scores;
        for (int64_t s = 0; s < seen; ++s) {
          const Vec key = HeadOf(k[static_cast<size_t>(s)], h, s, true);
          double score = 0;
          for (size_t i = 0; i < key.size(); ++i) score += query[i] * key[i];
          scores.push_back(score / std::sqrt(static_cast<double>(p_.head_dim)));
        }
        scores = Softmax(scores);
        Vec head(static_cast<size_t>(p_.head_dim));
        for (int64_t s = 0; s < seen; ++s) {
          const Vec value = HeadOf(v[static_cast<size_t>(s)], h, s, false);
          for (size_t i = 0; i < value.size(); ++i) head[i] += scores[static_cast<size_t>(s)] * value[i];
        }
        mixed.insert(mixed.end(), head.begin(), head.end());
      }
      out.push_back(Linear(mixed, Role::kAttentionOut, Role::kAttentionOutBias, layer));
    }
    return out;
  }
  std::vector<Vec> Transformer(int64_t item) const {
    std::vector<Vec> x;
    for (int64_t t = 0; t < p_.seq_len; ++t) x.push_back(Input(item, t));
    for (int64_t layer = 0; layer < p_.layers; ++layer) {
      std::vector<Vec> normed;
      for (const Vec& at : x) normed.push_back(Norm(at, Role::kAttentionNorm, Role::kAttentionNormBias, layer));
      const std::vector<Vec> attended = Attend(normed, layer);
      for (size_t t = 0; t < x.size(); ++t) {
        x[t] = Sum(x[t], attended[t]);
        x[t] = Sum(x[t], Mlp(Norm(x[t], Role::kMlpNorm, Role::kMlpNormBias, layer), layer));
      }
    }
    const int64_t first = p_.mode == Mode::kLabel ? p_.seq_len - 1 : library_.first_target;
    std::vector<Vec> read;
    for (int64_t t = first; t < p_.seq_len; ++t) {
      read.push_back(Norm(x[static_cast<size_t>(t)], Role::kFinalNorm, Role::kFinalNormBias));
    }
    return read;
  }
  Vec MlpFamily(int64_t item) const {
    Vec x;
    for (int64_t t = 0; t < p_.seq_len; ++t) {
      const Vec at = p_.tokens == Tokens::kVectors ? Vector(item, t) : Row(Role::kTokenEmbedding, 0, Token(item, t));
      x.insert(x.end(), at.begin(), at.end());
    }
    return Activate(Linear(x, Role::kHidden, Role::kHiddenBias));
  }
  Vec KsFamily(int64_t item) const {
    Vec mean(static_cast<size_t>(p_.width)), last;
    for (int64_t t = 0; t < p_.seq_len; ++t) {
      last = Input(item, t);
      for (int64_t block = 0; block < p_.layers; ++block) last = Sum(last, Mlp(last, block));
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += last[i] / static_cast<double>(p_.seq_len);
    }
    const Vec value = Linear(mean, Role::kValue, Role::kFinalNormBias);  // ks has no such bias
    Vec x = Sum(last, Linear(value, Role::kAttentionOut, Role::kFinalNormBias));
    for (int64_t block = p_.layers; block < 2 * p_.layers; ++block) x = Sum(x, Mlp(x, block));
    return x;
  }

  PointSpec p_;
  const Library& library_;
  ParamLayout layout_;
  const Vec& weights_;
};

struct ForwardCase {
  std::string name;
  void (*set)(PointSpec&);
};

class ForwardTest : public testing::TestWithParam<ForwardCase> {};
INSTANTIATE_TEST_SUITE_P(
    Each, ForwardTest,
    testing::Values(
        ForwardCase{"XtLabel", [](PointSpec&) {}}, ForwardCase{"XtLm", [](PointSpec& p) { p.mode = Mode::kLm; }},
        ForwardCase{"XtSeqRelu", [](PointSpec& p) { p.mode = Mode::kSeq, p.activation = Activation::kRelu; }},
        ForwardCase{"XtRotaryLabel", [](PointSpec& p) { p.positions = Positions::kRotary; }},
        ForwardCase{"XtRotaryLm", [](PointSpec& p) { p.positions = Positions::kRotary, p.mode = Mode::kLm; }},
        ForwardCase{"XtSoftmaxNoPositions",
                    [](PointSpec& p) { p.positions = Positions::kNone, p.activation = Activation::kSoftmax; }},
        ForwardCase{"XtMlpWidth", [](PointSpec& p) { p.mlp_width = 3; }},
        ForwardCase{"Gpt2Label", [](PointSpec& p) { p.family = Family::kGpt2; }},
        ForwardCase{"Gpt2Seq", [](PointSpec& p) { p.family = Family::kGpt2, p.mode = Mode::kSeq; }},
        ForwardCase{"Gpt2Lm", [](PointSpec& p) { p.family = Family::kGpt2, p.mode = Mode::kLm; }},
        ForwardCase{"MlpLabel", [](PointSpec& p) { p.family = Family::kMlp, p.layers = 1; }},
        ForwardCase{"MlpSeq", [](PointSpec& p) { p.family = Family::kMlp, p.layers = 1, p.mode = Mode::kSeq; }},
        ForwardCase{"MlpVectors",
                    [](PointSpec& p) { p.family = Family::kMlp, p.layers = 1, p.tokens = Tokens::kVectors; }},
        ForwardCase{"Ks", [](PointSpec& p) { p.family = Family::kKs, p.activation = Activation::kRelu; }},
        ForwardCase{"KsVectors", [](PointSpec& p) { p.family = Family::kKs, p.tokens = Tokens::kVectors; }}),
    [](const auto& test) { return test.param.name; });

TEST_P(ForwardTest, OutputsAreThoseOfTheFormulas) {
  PointSpec point;
  point.vocab = 7, point.seq_len = 4, point.layers = 2, point.heads = 2, point.head_dim = 4, point.width = 8;
  point.dataset_size = 6, point.steps = 1;
  GetParam().set(point);
  ASSERT_TRUE(ValidatePoint(point).ok()) << ValidatePoint(point);
  const Library library = *MakeLibrary(point);
  const std::vector<float> initial = InitialWeights(MakeLayout(point), 3);
  Vec weights(initial.begin(), initial.end());
  for (size_t i = 0; i < weights.size(); ++i) weights[i] += 0.2 * std::sin(static_cast<double>(i));
  const Vec logits = ProbeModel(point, library, weights).logits;
  const Formulas formulas(point, library, weights);
  Vec expected;
  for (int64_t item = 0; item < library.items; ++item) {
    for (const double y : formulas.Outputs(item)) expected.push_back(y);
  }
  ASSERT_EQ(logits.size(), expected.size());
  for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], 1e-10) << i;
}

}  // namespace
}  // namespace capsweep::trainer
