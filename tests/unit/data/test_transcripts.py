"""Transcripts: where a prompt ends, the prompt as it was published, and which prompts count as one."""

from hh_align.data.transcripts import cluster_of, published_prompt, split_transcript


def test_prompt_ends_with_the_last_cue_and_the_space_belongs_to_the_reply():
    # a tokenizer merges the space with the word behind it: on the other side the boundary would move
    assert split_transcript("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d") == (
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
        " d",
    )


def test_published_prompt_keeps_a_reply_with_a_blank_line():
    # faithful to the author's code: 4 of the 100 prompts depend on it
    assert published_prompt("\n\nHuman: a\n\nAssistant: b") == "Human: a"
    assert published_prompt("\n\nHuman: a\n\nAssistant: b\n\nc") == "Human: a\n\nAssistant: b\n\nc"


def test_cluster_is_the_first_human_turn():
    # prompts that share a first turn are counted as one cluster, whatever follows
    assert cluster_of("\n\nHuman: a\n\nAssistant: b") == cluster_of("Human: a\n\nAssistant: x\n\nHuman: y")
    assert cluster_of("\n\nHuman: a\n\nAssistant: b") != cluster_of("\n\nHuman: b\n\nAssistant: b")
    # also with a system's words before it, so that a training row with them is known as the prompt without
    assert cluster_of("Be brief.\n\nHuman: a\n\nAssistant: b") == cluster_of("Human: a")
    assert cluster_of("\n\nAssistant: hi\n\nHuman: a") != cluster_of("Human: a")
