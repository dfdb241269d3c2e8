#include "coordinator/store/schema.h"

namespace capsweep::store {
namespace {

// SQLite has no standard deviation: it is made from sums, NULL for a single value. `x - mean` inside one pass is not
// possible, so the sums are of squares; a tiny negative variance from rounding counts as 0.
// A bare column beside max() takes its value from the row of the maximum (SQLite's documented rule): v_capacity.
// What an architecture is, with its recipe, and what makes a cell of it.
#define ARCHITECTURE                                                                                              \
  "mode, vocab, seq_len, lm_targets, family, layers, heads, head_dim, width, freeze_mlp, mlp_width, activation, " \
  "positions, dropout, tokens, zipf_s, negbin_r, negbin_p, vector_dim, file_hash, optimizer, lr, schedule, "      \
  "lr_final, warmup, momentum, weight_decay, clip_norm, loss, batch_size, pinned_backend"
#define SPEC_OF_CELL ARCHITECTURE ", dataset_size, heldout_size, budget_epochs, budget_steps, eval_every, patience"

constexpr std::string_view kViews = R"sql(
CREATE VIEW v_results AS
SELECT
  s.name AS sweep, sp.point_id AS point_id, p.point_key AS point_key,
  p.mode AS mode, p.vocab AS vocab, p.seq_len AS seq_len, p.lm_targets AS lm_targets,
  p.family AS family, p.layers AS layers, p.heads AS heads, p.head_dim AS head_dim, p.width AS width,
  p.freeze_mlp AS freeze_mlp, p.mlp_width AS mlp_width, p.activation AS activation, p.positions AS positions,
  p.dropout AS dropout, p.dataset_size AS dataset_size, p.init_seed AS seed,
  p.data_seed AS data_seed, p.init_seed AS init_seed, p.tokens AS tokens, p.zipf_s AS zipf_s,
  p.negbin_r AS negbin_r, p.negbin_p AS negbin_p, p.vector_dim AS vector_dim, p.heldout_size AS heldout_size,
  p.file AS file, p.file_hash AS file_hash,
  p.optimizer AS optimizer, p.lr AS lr, p.schedule AS schedule, p.lr_final AS lr_final, p.warmup AS warmup,
  p.momentum AS momentum, p.weight_decay AS weight_decay, p.clip_norm AS clip_norm, p.loss AS loss,
  p.batch_size AS batch_size,
  p.budget_epochs AS budget_epochs, p.budget_steps AS budget_steps, p.eval_every AS eval_every,
  p.patience AS patience, p.backend AS pinned_backend,
  r.params_total AS params_total, r.params_train AS params_train,
  r.items_mem AS items_mem, r.items_mem_best AS items_mem_best, r.tokens_mem AS tokens_mem,
  r.nll_bits AS nll_bits, r.bits_mem AS bits_mem, r.items_corr AS items_corr,
  r.targets AS targets, r.lm_first_target AS lm_first_target, r.redraws AS redraws, r.train_loss AS train_loss,
  r.epochs AS epochs, r.steps AS steps, r.presentations AS presentations, r.stop_reason AS stop_reason,
  r.seconds AS seconds, r.seconds_train AS seconds_train, r.seconds_eval AS seconds_eval,
  r.heldout_loss AS heldout_loss, r.neighbour_mean AS neighbour_mean, r.neighbour_median AS neighbour_median,
  r.resumed_from_step AS resumed_from_step, p.shape AS shape, p.cost_seconds AS cost_seconds,
  r.backend AS backend, r.device_kind AS device_kind, r.device_name AS device_name, r.version AS version,
  r.torch_version AS torch_version, r.blas AS blas, r.threads AS threads,
  r.worker AS worker, r.host AS host, r.device AS device, r.attempt AS attempt, r.accepted_ms AS accepted_ms,
  strftime('%Y-%m-%dT%H:%M:%fZ', r.accepted_ms / 1000.0, 'unixepoch') AS accepted_at
FROM sweeps s
JOIN sweep_points sp ON sp.sweep_id = s.sweep_id
JOIN points p ON p.point_id = sp.point_id
JOIN results r ON r.point_id = sp.point_id;

CREATE VIEW v_cells AS
WITH cells AS (
  SELECT
    sweep, )sql" SPEC_OF_CELL R"sql(,
    params_total, params_train, COUNT(*) AS n,
    AVG(items_mem) AS items_mem_mean, SUM(1.0 * items_mem * items_mem) AS items_mem_sum2,
    AVG(items_mem_best) AS items_mem_best_mean,
    SUM(1.0 * items_mem_best * items_mem_best) AS items_mem_best_sum2,
    AVG(items_corr) AS items_corr_mean, SUM(items_corr * items_corr) AS items_corr_sum2,
    AVG(tokens_mem) AS tokens_mem_mean, SUM(1.0 * tokens_mem * tokens_mem) AS tokens_mem_sum2,
    AVG(bits_mem) AS bits_mem_mean, SUM(bits_mem * bits_mem) AS bits_mem_sum2,
    AVG(heldout_loss) AS heldout_loss_mean, AVG(train_loss) AS train_loss_mean,
    AVG(neighbour_mean) AS neighbour_mean, AVG(neighbour_median) AS neighbour_median,
    AVG(nll_bits) AS nll_bits_mean, SUM(nll_bits * nll_bits) AS nll_bits_sum2,
    AVG(epochs) AS epochs_mean, AVG(steps) AS steps_mean, AVG(seconds) AS seconds_mean,
    SUM(stop_reason = 'memorized') AS n_memorized, SUM(stop_reason = 'budget') AS n_budget
  FROM v_results
  GROUP BY
    sweep, )sql" SPEC_OF_CELL R"sql(
)
SELECT
  sweep, )sql" SPEC_OF_CELL R"sql(,
  params_total, params_train, n,
  items_mem_mean,
  sqrt(max(0.0, items_mem_sum2 - n * items_mem_mean * items_mem_mean) / nullif(n - 1, 0)) AS items_mem_sd,
  items_mem_best_mean,
  sqrt(max(0.0, items_mem_best_sum2 - n * items_mem_best_mean * items_mem_best_mean) / nullif(n - 1, 0))
    AS items_mem_best_sd,
  items_corr_mean,
  sqrt(max(0.0, items_corr_sum2 - n * items_corr_mean * items_corr_mean) / nullif(n - 1, 0)) AS items_corr_sd,
  tokens_mem_mean,
  sqrt(max(0.0, tokens_mem_sum2 - n * tokens_mem_mean * tokens_mem_mean) / nullif(n - 1, 0)) AS tokens_mem_sd,
  bits_mem_mean,
  sqrt(max(0.0, bits_mem_sum2 - n * bits_mem_mean * bits_mem_mean) / nullif(n - 1, 0)) AS bits_mem_sd,
  nll_bits_mean,
  sqrt(max(0.0, nll_bits_sum2 - n * nll_bits_mean * nll_bits_mean) / nullif(n - 1, 0)) AS nll_bits_sd,
  train_loss_mean, heldout_loss_mean, neighbour_mean, neighbour_median, epochs_mean, steps_mean, seconds_mean, n_memorized, n_budget
FROM cells;

CREATE VIEW v_searches AS
SELECT
  s.name AS sweep, s.measure AS measure, f.cell AS cell, f.state AS state, f.reason AS reason, f.probes AS probes,
  f.mac AS mac, f.mac_unsettled AS mac_unsettled, f.mls AS mls, f.size AS size,
  f.target AS target, f.rounds AS rounds, f.seconds AS seconds, f.predicted AS predicted, f.low AS low, f.high AS high,
  p.mode AS mode, p.vocab AS vocab, p.seq_len AS seq_len, p.lm_targets AS lm_targets,
  p.family AS family, p.layers AS layers, p.heads AS heads, p.head_dim AS head_dim, p.width AS width,
  p.freeze_mlp AS freeze_mlp, p.mlp_width AS mlp_width, p.activation AS activation, p.positions AS positions,
  p.dropout AS dropout, p.tokens AS tokens, p.zipf_s AS zipf_s, p.negbin_r AS negbin_r, p.negbin_p AS negbin_p,
  p.vector_dim AS vector_dim, p.file_hash AS file_hash, p.optimizer AS optimizer, p.lr AS lr, p.schedule AS schedule,
  p.lr_final AS lr_final, p.warmup AS warmup, p.momentum AS momentum, p.weight_decay AS weight_decay,
  p.clip_norm AS clip_norm, p.loss AS loss, p.batch_size AS batch_size, p.backend AS pinned_backend,
  p.dataset_size AS dataset_size, p.data_seed AS data_seed, p.init_seed AS init_seed,
  p.budget_epochs AS budget_epochs, p.budget_steps AS budget_steps,
  p.params_total AS params_total, p.params_train AS params_train, f.point_id AS point_id
FROM searches f
JOIN sweeps s ON s.sweep_id = f.sweep_id
JOIN points p ON p.point_id = f.point_id;

CREATE VIEW v_capacity AS
WITH best AS (
  SELECT
    sweep, )sql" ARCHITECTURE R"sql(, params_total, params_train,
    max(items_corr_mean) AS capacity, items_corr_sd AS capacity_sd, items_mem_mean AS items_mem,
    items_mem_sd AS items_mem_sd, bits_mem_mean AS bits_mem, dataset_size, budget_epochs, budget_steps, n,
    n_budget, COUNT(*) AS cells, max(items_corr_mean) / params_train AS capacity_per_param
  FROM v_cells
  GROUP BY
    sweep, )sql" ARCHITECTURE R"sql(
),
found AS (
  SELECT sweep, )sql" ARCHITECTURE R"sql(,
    max(mac) AS mac, max(mac_unsettled) FILTER (WHERE mac IS NOT NULL) AS mac_unsettled, max(mls) AS mls
  FROM v_searches
  WHERE measure IN ('mac', 'mls')
  GROUP BY sweep, )sql" ARCHITECTURE R"sql(
)
SELECT
  sweep, )sql" ARCHITECTURE R"sql(, params_total, params_train,
  capacity, capacity_sd, items_mem, items_mem_sd, bits_mem, dataset_size, budget_epochs, budget_steps, n,
  n_budget, cells, capacity_per_param,
  CASE WHEN s.measure IN ('grid', 'assoc', 'adaptive') THEN capacity ELSE found.mac END AS mac,
  found.mac_unsettled AS mac_unsettled, found.mls AS mls
FROM best
JOIN sweeps s ON s.name = best.sweep
LEFT JOIN found USING (sweep, )sql" ARCHITECTURE R"sql();

CREATE VIEW v_minnet AS
SELECT
  sweep, mode, vocab, seq_len, lm_targets, family, layers, heads, head_dim, width, mlp_width, freeze_mlp, activation,
  positions, tokens, vector_dim, file_hash, optimizer, schedule, batch_size, loss, pinned_backend, budget_epochs,
  budget_steps, dataset_size, data_seed, state, reason, size,
  CASE WHEN size IS NOT NULL THEN params_total END AS params_total,
  CASE WHEN size IS NOT NULL THEN params_train END AS params_train,
  CASE WHEN size IS NOT NULL THEN lr END AS lr, CASE WHEN size IS NOT NULL THEN warmup END AS warmup,
  probes AS trials
FROM v_searches
WHERE measure = 'minnet';

CREATE VIEW v_progress AS
WITH now AS (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS ms),
counts AS (
  SELECT
    sp.sweep_id AS sweep_id, COUNT(*) AS points, SUM(p.state = 'done') AS done, SUM(p.state = 'failed') AS failed,
    SUM(p.state = 'running') AS running, SUM(p.state = 'pending') AS pending, SUM(p.state = 'cancelled') AS cancelled
  FROM sweep_points sp CROSS JOIN points p ON p.point_id = sp.point_id
  GROUP BY sp.sweep_id
),
recent AS (
  SELECT sp.sweep_id AS sweep_id, COUNT(*) AS n, MIN(r.accepted_ms) AS first_ms
  FROM results r CROSS JOIN sweep_points sp ON sp.point_id = r.point_id
  WHERE r.accepted_ms > (SELECT ms FROM now) - 60000
  GROUP BY sp.sweep_id
),
rates AS (
  SELECT sweep_id, 1000.0 * n / max(1000, (SELECT ms FROM now) - first_ms) AS rate FROM recent
),
found AS (
  SELECT sweep_id, COUNT(*) AS cells, SUM(state <> 'searching') AS settled FROM searches GROUP BY sweep_id
)
SELECT
  s.name AS sweep, s.state AS state, s.reason AS reason, coalesce(c.points, 0) AS points, coalesce(c.done, 0) AS done,
  coalesce(c.failed, 0) AS failed, coalesce(c.running, 0) AS running, coalesce(c.pending, 0) AS pending,
  coalesce(c.cancelled, 0) AS cancelled, coalesce(r.rate, 0.0) AS rate_per_second,
  CASE WHEN s.state = 'running' AND s.measure NOT IN ('mac', 'mls', 'minnet', 'adaptive') THEN (c.running + c.pending) / r.rate END AS eta_seconds,
  coalesce(f.cells, 0) AS architectures, coalesce(f.settled, 0) AS architectures_settled
FROM sweeps s
LEFT JOIN found f ON f.sweep_id = s.sweep_id
LEFT JOIN counts c ON c.sweep_id = s.sweep_id
LEFT JOIN rates r ON r.sweep_id = s.sweep_id;

CREATE VIEW v_workers AS
WITH done AS (
  SELECT worker, device, COUNT(*) AS n, MAX(accepted_ms) AS last_ms FROM results GROUP BY worker, device
),
open AS (
  SELECT worker, device, COUNT(*) AS n FROM attempts WHERE ended_ms IS NULL GROUP BY worker, device
),
parts AS (
  SELECT d.worker AS worker, d.device AS device, d.kind AS kind, d.memory_bytes AS memory_bytes, d.slots AS slots,
    d.ready AS ready, d.reason AS reason, coalesce(open.n, 0) AS running, coalesce(done.n, 0) AS points_done,
    done.last_ms AS last_ms
  FROM devices d
  LEFT JOIN done ON done.worker = d.worker AND done.device = d.device
  LEFT JOIN open ON open.worker = d.worker AND open.device = d.device
)
SELECT
  w.worker AS worker, w.host AS host, w.state AS state, w.reason AS reason, w.version AS version,
  w.incarnation AS incarnation, w.first_ms AS first_ms,
  max(w.changed_ms, coalesce(max(parts.last_ms), 0)) AS last_seen_ms,
  COUNT(parts.device) AS devices, coalesce(SUM(parts.slots), 0) AS slots, coalesce(SUM(parts.running), 0) AS running,
  coalesce(SUM(parts.points_done), 0) AS points_done,
  json_group_array(json_object(
    'device', parts.device, 'kind', parts.kind,
    'state', CASE WHEN NOT parts.ready THEN 'failed' WHEN parts.running > 0 THEN 'busy' ELSE 'idle' END,
    'slots', parts.slots, 'running', parts.running, 'points_done', parts.points_done, 'reason', parts.reason))
    FILTER (WHERE parts.device IS NOT NULL) AS devices_json
FROM workers w LEFT JOIN parts ON parts.worker = w.worker
GROUP BY w.worker;
)sql";

#undef SPEC_OF_CELL
#undef ARCHITECTURE

}  // namespace

std::string_view ViewsSql() {
  return kViews;
}

}  // namespace capsweep::store
