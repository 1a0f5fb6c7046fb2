rule analysis:
    input:
        analysis_files(),


rule gather_ratings:
    input:
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        rewards=reward_files(),
    output:
        ratings="<results>/analysis/ratings.parquet",
    log:
        "<logs>/gather_ratings.log",
    benchmark:
        "<benchmarks>/gather_ratings.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        cfg=analysis_config(),
        code=code_hash("hh_align.analysis.gather_ratings"),
    shell:
        r"""
        python -m hh_align.analysis.gather_ratings \
            --config {params.cfg:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} \
            --rewards {input.rewards:q} \
            --output {output.ratings:q} 2>&1 | tee {log:q}
        """


rule compute_metrics:
    input:
        ratings="<results>/analysis/ratings.parquet",
    output:
        metrics="<results>/analysis/metrics.parquet",
    log:
        "<logs>/compute_metrics.log",
    benchmark:
        "<benchmarks>/compute_metrics.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        cfg=analysis_config(bootstrap=config["analysis"]["bootstrap"]),
        code=code_hash("hh_align.analysis.compute_metrics"),
    shell:
        r"""
        python -m hh_align.analysis.compute_metrics \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --output {output.metrics:q} 2>&1 | tee {log:q}
        """


rule compute_retention:
    input:
        ratings="<results>/analysis/ratings.parquet",
    output:
        retention="<results>/analysis/retention.parquet",
        changed="<results>/analysis/changed_prompts.parquet",
    log:
        "<logs>/compute_retention.log",
    benchmark:
        "<benchmarks>/compute_retention.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        cfg=analysis_config(),
        code=code_hash("hh_align.analysis.compute_retention"),
    shell:
        r"""
        python -m hh_align.analysis.compute_retention \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --output {output.retention:q} \
            --changed {output.changed:q} 2>&1 | tee {log:q}
        """


rule compare_policies:
    input:
        ratings="<results>/analysis/ratings.parquet",
        pairs=pair_files(),
        judge=judge_files(),
    output:
        comparisons="<results>/analysis/comparisons.parquet",
    log:
        "<logs>/compare_policies.log",
    benchmark:
        "<benchmarks>/compare_policies.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        cfg=contrast_config(),
        code=code_hash("hh_align.analysis.compare_policies"),
        optional=options("pairs", "judge"),
    shell:
        r"""
        python -m hh_align.analysis.compare_policies \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            {params.optional} \
            --output {output.comparisons:q} 2>&1 | tee {log:q}
        """


rule check_claims:
    input:
        ratings="<results>/analysis/ratings.parquet",
        judge=judge_files(),
    output:
        claims="<results>/analysis/claims.parquet",
    log:
        "<logs>/check_claims.log",
    benchmark:
        "<benchmarks>/check_claims.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        cfg=claim_config(),
        code=code_hash("hh_align.analysis.check_claims"),
        optional=options("judge"),
    shell:
        r"""
        python -m hh_align.analysis.check_claims \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            {params.optional} \
            --output {output.claims:q} 2>&1 | tee {log:q}
        """


rule compare_published:
    input:
        metrics="<results>/analysis/metrics.parquet",
        published=local("resources/published.yaml"),
    output:
        agreement="<results>/analysis/agreement.parquet",
    log:
        "<logs>/compare_published.log",
    benchmark:
        "<benchmarks>/compare_published.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        cfg=analysis_config(),
        code=code_hash("hh_align.analysis.compare_published"),
    shell:
        r"""
        python -m hh_align.analysis.compare_published \
            --config {params.cfg:q} \
            --metrics {input.metrics:q} \
            --published {input.published:q} \
            --output {output.agreement:q} 2>&1 | tee {log:q}
        """


rule compare_runs:
    input:
        unpack(both_runs),
    output:
        reproduction="<results>/analysis/reproduction.parquet",
        summary="<results>/analysis/reproduction_summary.parquet",
    log:
        "<logs>/compare_runs.log",
    benchmark:
        "<benchmarks>/compare_runs.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        cfg=reproduction_config,
        code=code_hash("hh_align.analysis.compare_runs"),
        optional=options("tokenizer"),
    shell:
        r"""
        python -m hh_align.analysis.compare_runs \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --our-prompts {input.our_prompts:q} \
            --our-responses {input.our_responses:q} \
            --their-prompts {input.their_prompts:q} \
            --their-responses {input.their_responses:q} \
            --their-rewards {input.their_rewards:q} \
            {params.optional} \
            --output {output.reproduction:q} \
            --summary {output.summary:q} 2>&1 | tee {log:q}
        """


rule correct_by_labels:
    input:
        unpack(label_files),
        ratings="<results>/analysis/ratings.parquet",
    output:
        gold="<results>/analysis/gold.parquet",
        agreement="<results>/analysis/label_agreement.parquet",
    log:
        "<logs>/correct_by_labels.log",
    benchmark:
        "<benchmarks>/correct_by_labels.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=label_config,
        code=code_hash("hh_align.analysis.correct_by_labels"),
        optional=options("labels", "choices"),
    shell:
        r"""
        python -m hh_align.analysis.correct_by_labels \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            {params.optional} \
            --output {output.gold:q} \
            --agreement {output.agreement:q} 2>&1 | tee {log:q}
        """


rule compare_judges:
    input:
        ratings="<results>/analysis/ratings.parquet",
    output:
        agreement="<results>/analysis/judge_agreement.parquet",
    log:
        "<logs>/compare_judges.log",
    benchmark:
        "<benchmarks>/compare_judges.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        cfg=analysis_config(seed=config["analysis"]["bootstrap"]["seed"]),
        code=code_hash("hh_align.analysis.compare_judges"),
    shell:
        r"""
        python -m hh_align.analysis.compare_judges \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --output {output.agreement:q} 2>&1 | tee {log:q}
        """


rule sweep_thresholds:
    input:
        ratings="<results>/analysis/ratings.parquet",
    output:
        thresholds="<results>/analysis/thresholds.parquet",
        leads="<results>/analysis/threshold_leads.parquet",
        flips="<results>/analysis/threshold_flips.parquet",
    log:
        "<logs>/sweep_thresholds.log",
    benchmark:
        "<benchmarks>/sweep_thresholds.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        cfg=analysis_config(),
        code=code_hash("hh_align.analysis.sweep_thresholds"),
    shell:
        r"""
        python -m hh_align.analysis.sweep_thresholds \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --output {output.thresholds:q} \
            --leads {output.leads:q} \
            --flips {output.flips:q} 2>&1 | tee {log:q}
        """


rule compute_power:
    input:
        ratings="<results>/analysis/ratings.parquet",
    output:
        power="<results>/analysis/power.parquet",
    log:
        "<logs>/compute_power.log",
    benchmark:
        "<benchmarks>/compute_power.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        cfg=step(**{key: config["analysis"][key] for key in ("sizes", "discordance")}),
        code=code_hash("hh_align.analysis.compute_power"),
    shell:
        r"""
        python -m hh_align.analysis.compute_power \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --output {output.power:q} 2>&1 | tee {log:q}
        """


rule examine_judge:
    input:
        pairs=pair_files(),
    output:
        judge="<results>/analysis/judge.parquet",
        calibration="<results>/analysis/judge_calibration.parquet",
        roc="<results>/analysis/judge_roc.parquet",
    log:
        "<logs>/examine_judge.log",
    benchmark:
        "<benchmarks>/examine_judge.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=step(own=own_subsets(), judges=examined_judges()),
        code=code_hash("hh_align.analysis.examine_judge"),
    shell:
        r"""
        python -m hh_align.analysis.examine_judge \
            --config {params.cfg:q} \
            --pairs {input.pairs:q} \
            --output {output.judge:q} \
            --calibration {output.calibration:q} \
            --roc {output.roc:q} 2>&1 | tee {log:q}
        """


rule summarize_drift:
    input:
        ratings="<results>/analysis/ratings.parquet",
        drift=drift_files(),
    output:
        drift="<results>/analysis/drift.parquet",
    log:
        "<logs>/summarize_drift.log",
    benchmark:
        "<benchmarks>/summarize_drift.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=drift_analysis_config(),
        code=code_hash("hh_align.analysis.summarize_drift"),
    shell:
        r"""
        python -m hh_align.analysis.summarize_drift \
            --config {params.cfg:q} \
            --ratings {input.ratings:q} \
            --drift {input.drift:q} \
            --output {output.drift:q} 2>&1 | tee {log:q}
        """


rule score_oracle:
    input:
        words=local("resources/synthetic.yaml"),
        prompts="<results>/prompts/prompts.parquet",
        responses=response_files(),
        ratings="<results>/analysis/ratings.parquet",
    output:
        oracle="<results>/analysis/oracle.parquet",
        labels="<results>/analysis/oracle_labels.parquet",
    log:
        "<logs>/score_oracle.log",
    benchmark:
        "<benchmarks>/score_oracle.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cfg=analysis_config(),
        code=code_hash("hh_align.analysis.score_oracle"),
    shell:
        r"""
        python -m hh_align.analysis.score_oracle \
            --config {params.cfg:q} \
            --words {input.words:q} \
            --prompts {input.prompts:q} \
            --responses {input.responses:q} \
            --ratings {input.ratings:q} \
            --output {output.oracle:q} \
            --labels {output.labels:q} 2>&1 | tee {log:q}
        """


rule check:
    input:
        "<results>/analysis/checks.parquet",


rule check_demo:
    input:
        labels="<results>/analysis/oracle_labels.parquet",
        oracle="<results>/analysis/oracle.parquet",
        words=local("resources/synthetic.yaml"),
        preferences=f"<results>/data/{prompts_dataset()}/preferences.parquet",
        pairs=pair_files(),
    output:
        checks="<results>/analysis/checks.parquet",
    log:
        "<logs>/check_demo.log",
    benchmark:
        "<benchmarks>/check_demo.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        cfg=analysis_config(examined=examined_judges()),
        code=code_hash("hh_align.analysis.check_demo"),
    shell:
        r"""
        python -m hh_align.analysis.check_demo \
            --config {params.cfg:q} \
            --words {input.words:q} \
            --preferences {input.preferences:q} \
            --pairs {input.pairs:q} \
            --labels {input.labels:q} \
            --oracle {input.oracle:q} \
            --output {output.checks:q} 2>&1 | tee {log:q}
        """


if RELEASED:

    rule compare_ratings:
        input:
            ratings="<results>/analysis/ratings.parquet",
        output:
            rescoring="<results>/analysis/rescoring.parquet",
        log:
            "<logs>/compare_ratings.log",
        benchmark:
            "<benchmarks>/compare_ratings.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            cfg=step(judges=thresholds(), released=config["release"]["judge"]),
            code=code_hash("hh_align.analysis.compare_ratings"),
        shell:
            r"""
            python -m hh_align.analysis.compare_ratings \
                --config {params.cfg:q} \
                --ratings {input.ratings:q} \
                --output {output.rescoring:q} 2>&1 | tee {log:q}
            """


if "sweeps" in config:

    rule summarize_sweep:
        input:
            metrics="<results>/analysis/metrics.parquet",
        output:
            sweep="<results>/analysis/sweep.parquet",
        log:
            "<logs>/summarize_sweep.log",
        benchmark:
            "<benchmarks>/summarize_sweep.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            cfg=step(arms=config["sweeps"]["policies"]),
            code=code_hash("hh_align.analysis.summarize_sweep"),
        shell:
            r"""
            python -m hh_align.analysis.summarize_sweep \
                --config {params.cfg:q} \
                --metrics {input.metrics:q} \
                --output {output.sweep:q} 2>&1 | tee {log:q}
            """


if NOISE_ARMS:

    rule summarize_noise:
        input:
            ratings="<results>/analysis/ratings.parquet",
            labels="<results>/analysis/oracle_labels.parquet",
        output:
            noise="<results>/analysis/noise.parquet",
        log:
            "<logs>/summarize_noise.log",
        benchmark:
            "<benchmarks>/summarize_noise.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            cfg=step(arms=NOISE_ARMS),
            code=code_hash("hh_align.analysis.summarize_noise"),
        shell:
            r"""
            python -m hh_align.analysis.summarize_noise \
                --config {params.cfg:q} \
                --ratings {input.ratings:q} \
                --labels {input.labels:q} \
                --output {output.noise:q} 2>&1 | tee {log:q}
            """


if SNAPSHOTS:

    rule summarize_snapshots:
        input:
            metrics="<results>/analysis/metrics.parquet",
            drift="<results>/analysis/drift.parquet" if drift_files() else [],
            logs=snapshot_logs(),
        output:
            snapshots="<results>/analysis/snapshots.parquet",
        log:
            "<logs>/summarize_snapshots.log",
        benchmark:
            "<benchmarks>/summarize_snapshots.tsv"
        conda:
            "../../environment.yml"
        resources:
            mem_mb=1000,
            runtime=5,
        params:
            cfg=snapshot_analysis_config,
            code=code_hash("hh_align.analysis.summarize_snapshots"),
            optional=options("drift"),
        shell:
            r"""
            python -m hh_align.analysis.summarize_snapshots \
                --config {params.cfg:q} \
                --metrics {input.metrics:q} {params.optional} \
                --logs {input.logs:q} \
                --output {output.snapshots:q} 2>&1 | tee {log:q}
            """
