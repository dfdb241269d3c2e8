-- The five queries of docs/schema.md: sqlite3 -readonly -box FILE < docs/examples/queries.sql

-- 1. Capacity per architecture, and what it costs per parameter
SELECT heads, width, seq_len, freeze_mlp, params_train, round(capacity, 1) AS capacity, round(capacity_sd, 1) AS sd,
       round(capacity_per_param, 4) AS per_param, dataset_size, n
FROM v_capacity WHERE sweep = 'quickstart' ORDER BY params_train;

-- 2. Which capacities were cut short by the budget and should be trained longer
SELECT sweep, heads, width, seq_len, n_budget, n, budget_steps, budget_epochs
FROM v_capacity WHERE n_budget > 0 ORDER BY n_budget DESC, width;

-- 3. How memorization grew during training, for the point with the most items
SELECT c.epoch, c.step, c.items_mem, round(c.nll_bits, 1) AS nll_bits, round(c.train_loss, 4) AS train_loss
FROM curves c WHERE c.point_id = (SELECT point_id FROM v_results ORDER BY items_mem DESC, point_id LIMIT 1)
ORDER BY c.step;

-- 4. Where the time went, and how far the estimate was off
SELECT shape, COUNT(*) AS points, round(SUM(seconds), 2) AS seconds, round(AVG(seconds / cost_seconds), 3) AS measured_over_estimated
FROM v_results GROUP BY shape ORDER BY seconds DESC;

-- 5. What went wrong
SELECT p.point_id, p.heads, p.width, a.attempt, a.worker, a.outcome, a.cause, a.message
FROM attempts a JOIN points p USING (point_id)
WHERE a.outcome IN ('failed', 'lost', 'late') ORDER BY a.ended_ms DESC;
