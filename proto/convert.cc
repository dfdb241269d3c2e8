#include "proto/convert.h"

#include <cmath>
#include <string>

#include "common/text.h"

namespace capsweep {
namespace {

template <class Enum>
void ReadWord(const char* field, const std::string& word, Enum& out, absl::Status& status) {
  if (!FromWord(word, out) && status.ok()) {
    status = absl::InvalidArgumentError(StrCat(field, ": '", word, "' is unknown"));
  }
}

}  // namespace

void PointToProto(const PointSpec& p, v1::Point* out) {
  out->set_mode(std::string(ToWord(p.mode)));
  out->set_vocab(p.vocab);
  out->set_seq_len(p.seq_len);
  out->set_lm_targets(std::string(ToWord(p.lm_targets)));
  out->set_family(std::string(ToWord(p.family)));
  out->set_layers(p.layers);
  out->set_heads(p.heads);
  out->set_head_dim(p.head_dim);
  out->set_width(p.width);
  out->set_freeze_mlp(p.freeze_mlp);
  out->set_dataset_size(p.dataset_size);
  out->set_data_seed(p.data_seed);
  out->set_optimizer(std::string(ToWord(p.optimizer)));
  out->set_lr(p.lr);
  out->set_schedule(std::string(ToWord(p.schedule)));
  out->set_lr_final(p.lr_final);
  out->set_batch_size(p.batch_size);
  out->set_epochs(p.epochs);
  out->set_steps(p.steps);
  out->set_eval_every(p.eval_every);
  out->set_patience(p.patience);
  out->set_init_seed(p.init_seed);
  out->set_backend(p.backend);
  out->set_mlp_width(p.mlp_width);
  out->set_activation(std::string(ToWord(p.activation)));
  out->set_positions(std::string(ToWord(p.positions)));
  out->set_dropout(p.dropout);
  out->set_tokens(std::string(ToWord(p.tokens)));
  out->set_zipf_s(p.zipf_s);
  out->set_negbin_r(p.negbin_r);
  out->set_negbin_p(p.negbin_p);
  out->set_vector_dim(p.vector_dim);
  out->set_heldout_size(p.heldout_size);
  out->set_file(p.file);
  out->set_file_hash(p.file_hash);
  out->set_warmup(p.warmup);
  out->set_momentum(p.momentum);
  out->set_weight_decay(p.weight_decay);
  out->set_clip_norm(p.clip_norm);
  out->set_loss(std::string(ToWord(p.loss)));
}

absl::StatusOr<PointSpec> PointFromProto(const v1::Point& m) {
  PointSpec p;
  absl::Status status;
  ReadWord("mode", m.mode(), p.mode, status);
  ReadWord("lm_targets", m.lm_targets(), p.lm_targets, status);
  ReadWord("family", m.family(), p.family, status);
  ReadWord("optimizer", m.optimizer(), p.optimizer, status);
  ReadWord("schedule", m.schedule(), p.schedule, status);
  ReadWord("activation", m.activation(), p.activation, status);
  ReadWord("positions", m.positions(), p.positions, status);
  ReadWord("tokens", m.tokens(), p.tokens, status);
  ReadWord("loss", m.loss(), p.loss, status);
  if (!status.ok()) return status;
  p.vocab = m.vocab();
  p.seq_len = m.seq_len();
  p.layers = m.layers();
  p.heads = m.heads();
  p.head_dim = m.head_dim();
  p.width = m.width();
  p.freeze_mlp = m.freeze_mlp();
  p.dataset_size = m.dataset_size();
  p.data_seed = m.data_seed();
  p.lr = m.lr();
  p.lr_final = m.lr_final();
  p.batch_size = m.batch_size();
  p.epochs = m.epochs();
  p.steps = m.steps();
  p.eval_every = m.eval_every();
  p.patience = m.patience();
  p.init_seed = m.init_seed();
  p.backend = m.backend();
  p.mlp_width = m.mlp_width();
  p.dropout = m.dropout();
  p.zipf_s = m.zipf_s();
  p.negbin_r = m.negbin_r();
  p.negbin_p = m.negbin_p();
  p.vector_dim = m.vector_dim();
  p.heldout_size = m.heldout_size();
  p.file = m.file();
  p.file_hash = m.file_hash();
  p.warmup = m.warmup();
  p.momentum = m.momentum();
  p.weight_decay = m.weight_decay();
  p.clip_norm = m.clip_norm();
  return p;
}

void ResultToProto(const PointResult& r, v1::Result* out) {
  out->set_point_key(r.point_key);
  out->set_items_mem(r.items_mem);
  out->set_items_mem_best(r.items_mem_best);
  out->set_tokens_mem(r.tokens_mem);
  out->set_nll_bits(r.nll_bits);
  out->set_bits_mem(r.bits_mem);
  out->set_items_corr(r.items_corr);
  out->set_targets(r.targets);
  out->set_lm_first_target(r.lm_first_target);
  out->set_redraws(r.redraws);
  out->set_train_loss(r.train_loss);
  out->set_epochs(r.epochs);
  out->set_steps(r.steps);
  out->set_presentations(r.presentations);
  out->set_stop_reason(r.stop_reason);
  out->set_params_total(r.params_total);
  out->set_params_train(r.params_train);
  out->set_backend(r.backend);
  out->set_device_kind(r.device_kind);
  out->set_device_name(r.device_name);
  out->set_version(r.version);
  out->set_torch_version(r.torch_version);
  out->set_blas(r.blas);
  out->set_threads(r.threads);
  out->set_seconds(r.seconds);
  out->set_seconds_train(r.seconds_train);
  out->set_seconds_eval(r.seconds_eval);
  out->set_resumed_from_step(r.resumed_from_step);
  for (const Evaluation& e : r.curve) {
    v1::Evaluation* row = out->add_curve();
    row->set_epoch(e.epoch);
    row->set_step(e.step);
    row->set_items_mem(e.items_mem);
    row->set_tokens_mem(e.tokens_mem);
    row->set_nll_bits(e.nll_bits);
    row->set_train_loss(e.train_loss);
    if (std::isfinite(e.heldout_loss)) row->set_heldout_loss(e.heldout_loss);
  }
  if (std::isfinite(r.heldout_loss)) out->set_heldout_loss(r.heldout_loss);
  if (std::isfinite(r.neighbour_mean)) out->set_neighbour_mean(r.neighbour_mean);
  if (std::isfinite(r.neighbour_median)) out->set_neighbour_median(r.neighbour_median);
}

PointResult ResultFromProto(const v1::Result& m) {
  PointResult r;
  r.point_key = m.point_key();
  r.items_mem = m.items_mem();
  r.items_mem_best = m.items_mem_best();
  r.tokens_mem = m.tokens_mem();
  r.nll_bits = m.nll_bits();
  r.bits_mem = m.bits_mem();
  r.items_corr = m.items_corr();
  r.targets = m.targets();
  r.lm_first_target = m.lm_first_target();
  r.redraws = m.redraws();
  r.train_loss = m.train_loss();
  r.epochs = m.epochs();
  r.steps = m.steps();
  r.presentations = m.presentations();
  r.stop_reason = m.stop_reason();
  r.params_total = m.params_total();
  r.params_train = m.params_train();
  r.backend = m.backend();
  r.device_kind = m.device_kind();
  r.device_name = m.device_name();
  r.version = m.version();
  r.torch_version = m.torch_version();
  r.blas = m.blas();
  r.threads = m.threads();
  r.seconds = m.seconds();
  r.seconds_train = m.seconds_train();
  r.seconds_eval = m.seconds_eval();
  r.resumed_from_step = m.resumed_from_step();
  r.curve.reserve(static_cast<size_t>(m.curve_size()));
  for (const v1::Evaluation& e : m.curve()) {
    r.curve.push_back({e.epoch(), e.step(), e.items_mem(), e.tokens_mem(), e.nll_bits(), e.train_loss()});
    if (e.has_heldout_loss()) r.curve.back().heldout_loss = e.heldout_loss();
  }
  if (m.has_heldout_loss()) r.heldout_loss = m.heldout_loss();
  if (m.has_neighbour_mean()) r.neighbour_mean = m.neighbour_mean();
  if (m.has_neighbour_median()) r.neighbour_median = m.neighbour_median();
  return r;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace capsweep
