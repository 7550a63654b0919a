import json, msgspec, tempfile, shutil
from pathlib import Path
from hypothesis import settings, given, HealthCheck, strategies as st
import pytest
from ailink import _core, pricing
from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.snapshot.compile import *
from tests.unit.config.test_robust import OURS, THEIRS, ENV, changed
@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    d=tmp_path_factory.mktemp("plane")
    from ailink.config.schema import Config
    o=compile_options(Config(data_dir=str(d)),Process(shell_socket=str(d/"s"),pepper=bytes(range(32)),fds=(),memory_bytes=2**30))
    p=_core.Plane(msgspec.msgpack.encode(o))
    yield p
    p.stop()
seen=[0,0]
@settings(max_examples=3000, suppress_health_check=list(HealthCheck), deadline=None)
@given(tree=st.one_of(changed(OURS), changed(THEIRS)))
def test_plane(registry, plane, tmp_path_factory, tree):
    file = tmp_path_factory.getbasetemp() / "changed2.yaml"
    file.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    try: loaded = loader.load(file, registry, ENV)
    except ConfigError: seen[0]+=1; return
    seen[1]+=1
    c=compile_snapshot(loaded.config, Inputs(registry=registry, catalogue=pricing.load(), env=ENV, mock_url="http://127.0.0.1:7"), 0)
    plane.push_credentials(msgspec.msgpack.encode(c.secrets))
    plane.publish(msgspec.msgpack.encode(c.snapshot))
def test_seen(): print("SEEN",seen)
HOSTC=st.text(st.characters(min_codepoint=33,max_codepoint=126),min_size=0,max_size=12)
import copy
@settings(max_examples=4000, suppress_health_check=list(HealthCheck), deadline=None)
@given(host=st.from_regex(r"[a-z0-9_.-]{1,5}|\[[0-9a-f:.]{2,6}\]|[0-9.]{5,9}",fullmatch=True), scheme=st.sampled_from(["http://","https://","HTTP://"]), port=st.sampled_from(["",":80",":"]), path=st.text(st.characters(min_codepoint=33,max_codepoint=126,exclude_characters="?#\\{}"),max_size=4), hname=st.from_regex(r"[A-Za-z0-9_-]{1,6}",fullmatch=True), hval=st.text(st.characters(min_codepoint=32,max_codepoint=126),max_size=5), op=st.text(st.characters(min_codepoint=33,max_codepoint=126,exclude_characters="?#"),max_size=4), auth=st.from_regex(r"[A-Za-z0-9!.~_-]{1,6}",fullmatch=True), w=st.integers(1,10**6), name=st.text(min_size=1,max_size=5), key=st.text(max_size=5))
def test_urls(registry, plane, tmp_path_factory, host, scheme, port, path, hname, hval, op, auth, w, name, key):
    tree={"providers":{"own":{"dialect":"openai","base_url":scheme+host+port+"/"+path,"headers":{hname:hval},"operations":{"chat":"/"+op},"auth":{"scheme":"header","name":auth or "x"},"api_key":key or "k"}},
      "models":[{"name":name,"deployments":[{"provider":"own","weight":w,"model":name}]}]}
    file = tmp_path_factory.getbasetemp() / "changed3.yaml"
    file.write_text(json.dumps(tree), encoding="utf-8")
    try: loaded = loader.load(file, registry, ENV)
    except ConfigError as e: seen[0]+=1; return
    seen[1]+=1
    c=compile_snapshot(loaded.config, Inputs(registry=registry, catalogue=pricing.load(), env=ENV), 0)
    plane.push_credentials(msgspec.msgpack.encode(c.secrets))
    plane.publish(msgspec.msgpack.encode(c.snapshot))
def test_seen2(): print("SEEN",seen)
