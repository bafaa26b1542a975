"""A small profile on disk, whose numbers are easy to follow by hand."""

from pathlib import Path

DENSE = {"embedding": 1, "layernorm": 2, "qkv_proj": 10, "rotary_emb": 3, "o_proj": 5, "gate_up_proj": 20, "act_fn": 4,
         "down_proj": 8, "final_layernorm": 2}  # fmt: skip


def write_profile(folder: Path) -> Path:
    """Operators of 1 to 64 tokens: `DENSE` microseconds at 1 token, 10 times that at 64; attention at 16 points."""
    folder.mkdir(parents=True)
    rows = [f"{name},{tokens},{us * factor}" for name, us in DENSE.items() for tokens, factor in ((1, 1), (64, 10))]
    (folder / "dense.csv").write_text("layer,tokens,time_us\n" + "\n".join(rows) + "\n")
    sequence = "lm_head,1,100\nlm_head,8,170\nsampler,1,10\nsampler,8,10\n"
    (folder / "per_sequence.csv").write_text("layer,sequences,time_us\n" + sequence)
    points = ["0,0,1,16,10", "0,0,1,116,20", "0,0,5,16,50", "0,0,5,116,100"]  # n = 1, 5; contexts 16, 116
    points += ["16,0,0,0,30", "16,100,0,0,40", "48,0,0,0,62", "48,100,0,0,104"]  # prompts alone
    points += [f"{chunk},{cached},4,{context},{us}" for chunk, cached, context, us in (
        (16, 0, 16, 60), (16, 0, 116, 100), (16, 100, 16, 70), (16, 100, 116, 110),
        (48, 0, 16, 92), (48, 0, 116, 132), (48, 100, 16, 134), (48, 100, 116, 174))]  # fmt: skip
    (folder / "attention.csv").write_text("prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n" + "\n".join(points) + "\n")
    skew = ["pure,2,0,0.1", "pure,2,0,0.3", "pure,8,0,0.5", "mixed,4,16,0.25", "mixed,4,16,"]
    (folder / "skew.csv").write_text("regime,n,pc,alpha\n" + "\n".join(skew) + "\n")
    return folder
